/* Code written at run time, and the program's own text changed. */
#include "../guest.h"
static int __attribute__((noinline, aligned(4096), section(".text.patched"))) answer(void)
{
	asm volatile("" ::: "memory");
	return 1;
}
static const unsigned char returns_42[] = { 0xb8, 42, 0, 0, 0, 0xc3 }, returns_43[] = { 0xb8, 43, 0, 0, 0, 0xc3 };
int main(void)
{
	int (*volatile f)(void) = answer;
	char *p = map(PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(p, returns_42, 6);
	OK(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	void *page = (void *)((uintptr_t)answer & ~(PAGE - 1));
	EQ(f(), 1);
	OK(mprotect(page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC));
	memcpy((void *)answer, returns_43, 6);
	OK(mprotect(page, PAGE, PROT_READ | PROT_EXEC));
	EQ(f(), 43);
	checkpoint();
	EQ(((int (*)(void))p)(), 42);
	EQ(f(), 43);
	return pass();
}
