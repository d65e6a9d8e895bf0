/* CPUID that raises SIGSEGV. */
#include "../guest.h"
#include <cpuid.h>
#include <setjmp.h>
static sigjmp_buf back;
static void on(int s)
{
	siglongjmp(back, s);
}
int main(void)
{
	unsigned a, b, c, d;
	if (syscall(SYS_arch_prctl, 0x1012 /* ARCH_SET_CPUID */, 0))
		SKIP("the processor cannot fault CPUID");
	signal(SIGSEGV, on);
	checkpoint();
	EQ(syscall(SYS_arch_prctl, 0x1011, 0), 0);
	if (!sigsetjmp(back, 1)) {
		__cpuid(0, a, b, c, d);
		FAIL("CPUID did not fault");
	}
	OK(syscall(SYS_arch_prctl, 0x1012, 1));
	__cpuid(0, a, b, c, d);
	return pass();
}
