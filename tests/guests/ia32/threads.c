/* Threads with segments, robust lists and the word that is cleared at the end, of their own. */
#include "../ia32.h"
enum { N = 3, FLAGS = 0x50f00 /* VM, FS, FILES, SIGHAND, THREAD, SYSVSEM */, CHILD_CLEARTID = 0x200000, CHILD_SETTID = 0x1000000 };
struct head {
	unsigned next, offset, pending;
};
static struct head heads[N + 1];
static unsigned words[N + 1];
static volatile int tids[N + 1], set, go, done;

static void look(int i)
{
	unsigned head = 0, len = 0;
	EQ(gs_word(), 0x1000 + i);
	OK(CALL(get_robust_list, 0, &head, &len));
	EQ(head, &heads[i]);
	EQ(len, 12);
}
static void prepare(int i)
{
	words[i] = 0x1000 + i;
	set_gs(&words[i]);
	heads[i].next = (unsigned)&heads[i];
	OK(CALL(set_robust_list, &heads[i], 12));
}
static void run(int i)
{
	prepare(i);
	__atomic_add_fetch(&set, 1, __ATOMIC_SEQ_CST);
	while (!go)
		CALL(futex, &go, 0, 0, 0, 0, 0);
	look(i);
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	CALL(exit, 0);
}
__attribute__((noinline)) static void spawn(int i)
{
	unsigned *top = (unsigned *)((char *)map(16 << 12) + (16 << 12));
	*--top = i;
	*--top = 0; /* where a call would return to */
	*--top = (unsigned)run;
	int ret;
	__asm__ volatile("int $0x80\n\ttest %%eax, %%eax\n\tjnz 1f\n\txor %%ebp, %%ebp\n\tret\n1:"
			 : "=a"(ret)
			 : "0"(NR_clone), "b"(FLAGS | CHILD_CLEARTID | CHILD_SETTID), "c"(top), "d"(0), "S"(0), "D"(&tids[i])
			 : "memory", "cc");
	OK(ret);
}
int guest(unsigned *stack)
{
	(void)stack;
	prepare(0);
	for (int i = 1; i <= N; i++)
		spawn(i);
	while (set < N)
		CALL(sched_yield);
	checkpoint();
	look(0);
	go = 1;
	CALL(futex, &go, 1, 100, 0, 0, 0);
	for (int i = 1; i <= N; i++)
		while (tids[i])
			CALL(sched_yield);
	EQ(done, N);
	return 0;
}
