/* Programs of 32 bits: system calls by int 0x80. */
#ifndef IA32_H
#define IA32_H

enum {
	NR_exit = 1, NR_fork = 2, NR_read = 3, NR_open = 5, NR_close = 6, NR_waitpid = 7, NR_getpid = 20, NR_kill = 37,
	NR_brk = 45, NR_symlink = 83, NR_munmap = 91, NR_clone = 120, NR_sched_yield = 158, NR_nanosleep = 162,
	NR_rt_sigreturn = 173, NR_rt_sigaction = 174, NR_rt_sigprocmask = 175, NR_rt_sigpending = 176, NR_sigaltstack = 186,
	NR_mmap2 = 192, NR_gettid = 224, NR_futex = 240, NR_set_thread_area = 243, NR_get_thread_area = 244,
	NR_exit_group = 252, NR_set_tid_address = 258, NR_tgkill = 270, NR_set_robust_list = 311, NR_get_robust_list = 312,
};

static inline int call6(int nr, int a, int b, int c, int d, int e, int f)
{
	int ret;
	__asm__ volatile("push %%ebp\n\tmov %7, %%ebp\n\tint $0x80\n\tpop %%ebp"
			 : "=a"(ret)
			 : "0"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), "m"(f)
			 : "memory");
	return ret;
}
#include "bare.h"

static inline void *map(unsigned len)
{
	return (void *)OK(CALL(mmap2, 0, len, 3, 0x22, -1, 0));
}

__asm__(".globl restore\nrestore:\n\tmov $173, %eax\n\tint $0x80");

struct segment {
	unsigned number, base, limit, flags;
};
/* A thread-local segment for gs at the word given. */
static inline void set_gs(unsigned *word)
{
	struct segment s = { -1U, (unsigned)word, 0xfffff, 0x51 }; /* 32-bit, in pages, usable */
	OK(CALL(set_thread_area, &s));
	__asm__ volatile("mov %0, %%gs" : : "r"(s.number << 3 | 3));
}
static inline unsigned gs_word(void)
{
	unsigned word;
	__asm__ volatile("mov %%gs:0, %0" : "=r"(word));
	return word;
}

__asm__(".globl _start\n_start:\n\tmov %esp, %eax\n\tand $-16, %esp\n\tsub $12, %esp\n\tpush %eax\n\tcall start");
#endif
