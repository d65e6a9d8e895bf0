/* What guest.h is, for programs without a C library, which few machines have for their sort. The header of the sort
 * has the numbers of its calls, as NR_NAME, and call6(). */
#ifndef BARE_H
#define BARE_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

#define SKIP(text)                                                                                                  \
	do {                                                                                                        \
		verdict("skip: " text);                                                                             \
		CALL(exit_group, 0);                                                                                \
	} while (0)

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

struct action {
	void (*handler)();
	unsigned flags;
	void (*restorer)(void);
	unsigned mask[2];
};
enum { WITH_INFO = 4, RESTORER = 0x04000000, ON_STACK = 0x08000000 };
void restore(void);

static inline void on_signal(int signo, void (*handler)(), unsigned flags, unsigned mask)
{
	struct action a = { handler, flags | RESTORER | WITH_INFO, restore, { mask, 0 } };
	OK(CALL(rt_sigaction, signo, &a, 0, 8));
}

int guest(unsigned *stack);
void start(unsigned *stack)
{
	int status = guest(stack);
	if (!status)
		verdict("pass");
	CALL(exit_group, status);
}

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
