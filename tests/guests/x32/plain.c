/* Memory, heap, the words that the kernel has left on the stack, calls through the vdso, new memory below 4 GiB. */
#include "../x32.h"
static unsigned data[3000] = { 7 };
struct symbol {
	unsigned name, value, size;
	unsigned char info, other;
	unsigned short section;
};
/* A function of the vdso, by its ELF file of 32 bits. */
static void *function(unsigned vdso, const char *name)
{
	unsigned short count = *(unsigned short *)(vdso + 44);
	unsigned *header = (unsigned *)(vdso + *(unsigned *)(vdso + 28)), *dynamic = 0, bias = vdso, symbols = 0, strings = 0, hash = 0;
	for (; count--; header += 8) {
		if (header[0] == 2)
			dynamic = (unsigned *)(vdso + header[1]);
		if (header[0] == 1)
			bias = vdso + header[1] - header[2];
	}
	for (; dynamic && dynamic[0]; dynamic += 2) {
		if (dynamic[0] == 4)
			hash = bias + dynamic[1];
		if (dynamic[0] == 5)
			strings = bias + dynamic[1];
		if (dynamic[0] == 6)
			symbols = bias + dynamic[1];
	}
	CHECK(hash && strings && symbols);
	struct symbol *symbol = (struct symbol *)symbols;
	for (unsigned n = ((unsigned *)hash)[1]; n--; symbol++) {
		const char *a = (const char *)(strings + symbol->name), *b = name;
		while (*a && *a == *b)
			a++, b++;
		if (*a == *b)
			return (void *)(bias + symbol->value);
	}
	return 0;
}
int guest(unsigned *stack)
{
	unsigned *words = stack, vdso = 0, argc = words[0];
	for (words += argc + 2; *words; words++) /* the environment */
		;
	for (words++; words[0]; words += 2)
		if (words[0] == 33)
			vdso = words[1];
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
	if (vdso) {
		int (*clock_gettime)(int, struct timespec *) = function(vdso, "__vdso_clock_gettime");
		CHECK(clock_gettime);
		struct timespec t;
		long long before = now(1);
		EQ(clock_gettime(1, &t), 0);
		long long at = t.sec * 1000000000 + t.nsec;
		CHECK(before <= at && at <= now(1));
	}
	char *fresh = map(4096);
	fresh[4095] = 1;
	OK(CALL(munmap, fresh, 4096));
	unsigned short cs;
	__asm__ volatile("mov %%cs, %0" : "=r"(cs));
	EQ(cs, 0x33);
	return 0;
}
