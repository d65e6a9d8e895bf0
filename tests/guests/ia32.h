/* What guest.h is, for 32-bit programs, which have no C library here: system calls by int 0x80. */
#ifndef IA32_H
#define IA32_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
#define CALL_(nr, a, b, c, d, e, f, ...) call6(nr, (int)(a), (int)(b), (int)(c), (int)(d), (int)(e), (int)(f))
#define CALL(nr, ...) CALL_(NR_##nr, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0)

static inline int length(const char *s)
{
	int n = 0;
	while (s[n])
		n++;
	return n;
}

static inline void verdict(const char *text)
{
	CALL(symlink, text, "verdict");
}

/* "fail: FILE:LINE: WHAT (VALUE)", in hexadecimal. */
static inline void fail(const char *where, const char *what, unsigned value)
{
	char text[512];
	int n = 0;
	const char *parts[] = { "fail: ", where, ": ", what, " (0x" };
	for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++)
		for (const char *s = parts[i]; *s && n < 480; s++)
			text[n++] = *s;
	for (int shift = 28; shift >= 0; shift -= 4)
		text[n++] = "0123456789abcdef"[value >> shift & 15];
	text[n++] = ')';
	text[n] = 0;
	verdict(text);
	CALL(exit_group, 1);
}

#define STRING_(x) #x
#define STRING(x) STRING_(x)
#define CHECK(cond)                                                                                                 \
	do {                                                                                                        \
		if (!(cond))                                                                                        \
			fail(__FILE__ ":" STRING(__LINE__), #cond, 0);                                              \
	} while (0)
#define EQ(left, right)                                                                                             \
	do {                                                                                                        \
		unsigned left_ = (unsigned)(left);                                                                  \
		if (left_ != (unsigned)(right))                                                                     \
			fail(__FILE__ ":" STRING(__LINE__), #left " is not " #right, left_);                        \
	} while (0)
#define OK(call)                                                                                                    \
	({                                                                                                          \
		int ok_ = (int)(call);                                                                              \
		if (ok_ < 0 && ok_ > -4096)                                                                         \
			fail(__FILE__ ":" STRING(__LINE__), #call, (unsigned)ok_);                                  \
		ok_;                                                                                                \
	})

static inline void wait_go(void)
{
	int fd;
	while ((fd = CALL(open, "go", 0)) < 0)
		EQ(fd, -4);
	CALL(close, fd);
}

static inline void checkpoint(void)
{
	OK(CALL(symlink, "ready", "ready"));
	wait_go();
}

static inline void *map(unsigned len)
{
	return (void *)OK(CALL(mmap2, 0, len, 3, 0x22, -1, 0));
}

struct action {
	void (*handler)();
	unsigned flags;
	void (*restorer)(void);
	unsigned mask[2];
};
enum { WITH_INFO = 4, RESTORER = 0x04000000, ON_STACK = 0x08000000 };
void restore(void);
__asm__(".globl restore\nrestore:\n\tmov $173, %eax\n\tint $0x80");

static inline void on_signal(int signo, void (*handler)(), unsigned flags, unsigned mask)
{
	struct action a = { handler, flags | RESTORER | WITH_INFO, restore, { mask, 0 } };
	OK(CALL(rt_sigaction, signo, &a, 0, 8));
}

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

int guest(unsigned *stack);
void start(unsigned *stack)
{
	int status = guest(stack);
	if (!status)
		verdict("pass");
	CALL(exit_group, status);
}
__asm__(".globl _start\n_start:\n\tmov %esp, %eax\n\tand $-16, %esp\n\tsub $12, %esp\n\tpush %eax\n\tcall start");

/* What the compiler calls. */
void *memset(void *at, int c, size_t n)
{
	for (volatile char *p = at; n--; p++)
		*p = (char)c;
	return at;
}
void *memcpy(void *to, const void *from, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}
#endif
