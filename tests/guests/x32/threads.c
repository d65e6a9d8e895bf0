/* Threads with words at fs, robust lists, registers of 64 bits, and the word that is cleared at the end, of their own. */
#include "../x32.h"
enum { N = 3 };
struct head {
	unsigned next, offset, pending;
};
static struct head heads[N + 2];
static unsigned words[N + 2];
static volatile int tids[N + 2], set, go, done, bad;
static void look(int i)
{
	unsigned head = 0, len = 0;
	EQ(fs_word(), 0x1000 + i);
	OK(CALL(get_robust_list, 0, &head, &len));
	EQ(head, &heads[i]);
	EQ(len, 12);
}
static void prepare(int i)
{
	words[i] = 0x1000 + i;
	set_fs(&words[i]);
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
/* One that computes. */
static void spin(int i)
{
	static int values[4] = { 11, 22, 33, 44 };
	int out[4];
	unsigned long long a, b;
	prepare(i);
	__asm__ volatile("movups %[values], %%xmm5\n\t"
			 "movabs $0x1111111122222222, %%r14\n\tmovabs $0x3333333344444444, %%r15\n\t"
			 "lock incl %[set]\n"
			 "1:\tcmpl $0, %[go]\n\tje 1b\n\t"
			 "mov %%r14, %[a]\n\tmov %%r15, %[b]\n\tmovups %%xmm5, %[out]"
			 : [a] "=&r"(a), [b] "=&r"(b), [out] "=m"(out), [set] "+m"(set)
			 : [values] "m"(values), [go] "m"(go)
			 : "memory", "cc", "xmm5", "r14", "r15");
	bad = a != 0x1111111122222222 || b != 0x3333333344444444 || out[0] != 11 || out[3] != 44;
	look(i);
	__atomic_add_fetch(&done, 1, __ATOMIC_SEQ_CST);
	CALL(exit, 0);
}
int guest(unsigned *stack)
{
	(void)stack;
	prepare(0);
	for (int i = 1; i <= N; i++)
		spawn(run, i, &tids[i]);
	spawn(spin, N + 1, &tids[N + 1]);
	while (set < N + 1)
		CALL(sched_yield);
	checkpoint();
	look(0);
	go = 1;
	CALL(futex, &go, 1, 100, 0, 0, 0);
	for (int i = 1; i <= N + 1; i++)
		while (tids[i])
			CALL(sched_yield);
	EQ(done, N + 1);
	EQ(bad, 0);
	return 0;
}
