/* Programs of the x32 ABI: the registers and calls of 64 bits, pointers of 32. */
#ifndef X32_H
#define X32_H

enum {
	X32 = 0x40000000,
	NR_read = X32 | 0, NR_write = X32 | 1, NR_open = X32 | 2, NR_close = X32 | 3, NR_poll = X32 | 7, NR_mmap = X32 | 9,
	NR_munmap = X32 | 11, NR_brk = X32 | 12, NR_rt_sigprocmask = X32 | 14, NR_pipe = X32 | 22, NR_sched_yield = X32 | 24,
	NR_nanosleep = X32 | 35, NR_getpid = X32 | 39, NR_clone = X32 | 56, NR_fork = X32 | 57, NR_exit = X32 | 60,
	NR_waitpid = X32 | 61 /* wait4, with one more argument */, NR_kill = X32 | 62, NR_symlink = X32 | 88,
	NR_arch_prctl = X32 | 158, NR_gettid = X32 | 186, NR_futex = X32 | 202, NR_timer_settime = X32 | 223,
	NR_timer_gettime = X32 | 224, NR_clock_gettime = X32 | 228, NR_clock_nanosleep = X32 | 230, NR_exit_group = X32 | 231,
	NR_tgkill = X32 | 234, NR_rt_sigaction = X32 | 512, NR_rt_sigpending = X32 | 522, NR_sigaltstack = X32 | 525,
	NR_rt_sigqueueinfo = X32 | 524,
	NR_timer_create = X32 | 526, NR_set_robust_list = X32 | 530, NR_get_robust_list = X32 | 531,
};

static inline int call6(int nr, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f)
{
	long long ret;
	register unsigned long long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "0"((long long)nr), "D"((unsigned long long)a), "S"((unsigned long long)b),
			   "d"((unsigned long long)c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return (int)ret;
}

#include "bare.h"

static inline void *map(unsigned len)
{
	unsigned at = (unsigned)CALL(mmap, 0, len, 3, 0x22, -1, 0);
	CHECK(at < -4095U);
	return (void *)at;
}
__asm__(".globl restore\nrestore:\n\tmov $0x40000201, %eax\n\tsyscall");

/* The word that fs points at, as a C library has it. */
static inline void set_fs(void *word)
{
	OK(CALL(arch_prctl, 0x1002, word));
}
static inline unsigned fs_word(void)
{
	unsigned word;
	__asm__ volatile("mov %%fs:0, %0" : "=r"(word));
	return word;
}

struct timespec {
	long long sec, nsec;
};
static inline long long now(int clock)
{
	struct timespec t;
	OK(CALL(clock_gettime, clock, &t));
	return t.sec * 1000000000 + t.nsec;
}

enum { THREAD = 0x50f00 /* VM, FS, FILES, SIGHAND, THREAD, SYSVSEM */ | 0x200000 /* CHILD_CLEARTID */ | 0x1000000 /* CHILD_SETTID */ };
/* A thread that runs a function, which does not return; its id stands in a word for as long as it lives. */
__attribute__((noinline)) static void spawn(void (*run)(int), int argument, volatile int *tid)
{
	unsigned long long *top = (unsigned long long *)((char *)map(16 << 12) + (16 << 12));
	*--top = 0; /* where a call would return to */
	long long ret;
	register unsigned long long r10 __asm__("r10") = (unsigned)tid, r8 __asm__("r8") = 0;
	register unsigned long long r12 __asm__("r12") = (unsigned)argument, r13 __asm__("r13") = (unsigned)run;
	__asm__ volatile("syscall\n\ttest %%eax, %%eax\n\tjnz 1f\n\txor %%ebp, %%ebp\n\tmov %%r12d, %%edi\n\tjmp *%%r13\n1:"
			 : "=a"(ret)
			 : "0"((long long)NR_clone), "D"((unsigned long long)THREAD), "S"(top), "d"(0ULL), "r"(r10), "r"(r8),
			   "r"(r12), "r"(r13)
			 : "rcx", "r11", "memory", "cc");
	OK(ret);
}

__asm__(".globl _start\n_start:\n\tmov %esp, %edi\n\tand $-16, %esp\n\tcall start");
#endif
