/* Threads on user shadow stacks (Linux 6.6), in the middle of calls and of a handler, with locked features. */
#include "../guest.h"
#include <pthread.h>

enum { ENABLE = 0x5001, LOCK = 0x5003, STATUS = 0x5005, SHSTK = 1, WRSS = 2 };

/* None of these may be a call: what is switched on by one cannot be returned from. */
static inline __attribute__((always_inline)) long arch_prctl(long option, long argument)
{
	long ret;
	__asm__ volatile("syscall" : "=a"(ret) : "0"(SYS_arch_prctl), "D"(option), "S"(argument) : "rcx", "r11", "memory");
	return ret;
}
static inline __attribute__((always_inline)) unsigned long ssp(void)
{
	unsigned long at = 0;
	__asm__ volatile("rdsspq %0" : "+r"(at));
	return at;
}

static void look(void)
{
	unsigned long features = 0;
	EQ(arch_prctl(STATUS, (long)&features), 0);
	EQ(features, SHSTK | WRSS);
	EQ(arch_prctl(0x5002 /* DISABLE */, WRSS), -EPERM);
	CHECK(vm_flag((void *)(ssp() - 1), "ss"));
}

static volatile int handled;
static void on(int signo)
{
	(void)signo;
	unsigned long at = ssp();
	checkpoint();
	EQ(ssp(), at);
	look();
	handled = 1;
}
static __attribute__((noinline)) int deep(int n, int (*end)(void))
{
	int below = n ? deep(n - 1, end) : end();
	__asm__ volatile("" : : : "memory");
	return below + 1;
}
static int in_handler(void)
{
	OK(raise(SIGUSR1));
	return 0;
}

static pthread_barrier_t go;
static volatile int set;
static int in_thread(void)
{
	set = 1;
	pthread_barrier_wait(&go);
	look();
	return 0;
}
static void *thread(void *unused)
{
	/* It has a shadow stack of its own, with the features of its creator, which may be locked by now. */
	long failed = arch_prctl(ENABLE, WRSS);
	if (failed && failed != -EPERM)
		FAIL("ARCH_SHSTK_ENABLE in a thread: %s", strerror((int)-failed));
	EQ(arch_prctl(LOCK, SHSTK | WRSS), 0);
	EQ(deep(10, in_thread), 11);
	return unused;
}
static __attribute__((noinline)) void guest(void)
{
	pthread_t other;
	EQ(arch_prctl(ENABLE, WRSS), 0);
	OK(pthread_create(&other, NULL, thread, NULL));
	EQ(arch_prctl(LOCK, SHSTK | WRSS), 0);
	while (!set)
		sched_yield();
	look();
	EQ(deep(20, in_handler), 21);
	EQ(handled, 1);
	pthread_barrier_wait(&go);
	OK(pthread_join(other, NULL));
	/* One that is born later has one too. */
	pthread_barrier_init(&go, NULL, 1);
	OK(pthread_create(&other, NULL, thread, NULL));
	OK(pthread_join(other, NULL));
}
int main(void)
{
	if (syscall(453 /* map_shadow_stack */, 0, PAGE, 1UL << 31) < 0 && errno == ENOSYS)
		SKIP("this kernel has no user shadow stacks (CONFIG_X86_USER_SHADOW_STACK, Linux 6.6)");
	if (errno == EOPNOTSUPP)
		SKIP("this processor has no user shadow stacks (user_shstk in /proc/cpuinfo)");
	pthread_barrier_init(&go, NULL, 2);
	signal(SIGUSR1, on);
	long failed = arch_prctl(ENABLE, SHSTK);
	if (failed)
		FAIL("ARCH_SHSTK_ENABLE: %s", strerror((int)-failed));
	guest();
	/* What main was called by is not on the shadow stack. */
	_exit(pass());
}
