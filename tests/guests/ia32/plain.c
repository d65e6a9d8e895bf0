/* Memory, heap, the words that the kernel has left on the stack, calls through the vdso, new memory below 4 GiB. */
#include "../ia32.h"
static unsigned data[3000] = { 7 };
int guest(unsigned *stack)
{
	unsigned *words = stack, sysinfo = 0, argc = words[0];
	for (words += argc + 2; *words; words++) /* the environment */
		;
	for (words++; words[0]; words += 2)
		if (words[0] == 32)
			sysinfo = words[1];
	unsigned *heap = (unsigned *)CALL(brk, 0);
	EQ(CALL(brk, (unsigned)heap + 8192), (unsigned)heap + 8192);
	unsigned *far = map(64 << 12);
	for (unsigned i = 0; i < 2000; i++)
		heap[i] = far[i * 32] = data[i] = i * 2654435761U;
	int pid = CALL(getpid);
	checkpoint();
	for (unsigned i = 0; i < 2000; i++)
		CHECK(heap[i] == i * 2654435761U && far[i * 32] == heap[i] && data[i] == heap[i]);
	EQ(CALL(brk, 0), (unsigned)heap + 8192);
	EQ(stack[0], argc);
	EQ(CALL(getpid), pid);
	if (sysinfo) {
		int got;
		__asm__ volatile("call *%1" : "=a"(got) : "r"(sysinfo), "0"(NR_getpid) : "memory", "cc");
		EQ(got, pid);
	}
	char *fresh = map(4096);
	fresh[4095] = 1;
	OK(CALL(munmap, fresh, 4096));
	unsigned short cs;
	__asm__ volatile("mov %%cs, %0" : "=r"(cs));
	EQ(cs, 0x23);
	return 0;
}
