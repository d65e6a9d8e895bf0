/* Locked memory: mlock, lock on fault, MAP_LOCKED. */
#include "../guest.h"
int main(void)
{
	char *a = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *b, *c;
	OK(mlock(a, 2 * PAGE));
	b = map(8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(mlock2(b, 8 * PAGE, MLOCK_ONFAULT));
	b[0] = 1;
	c = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_LOCKED, -1, 0);
	fill(a, 4 * PAGE, 1);
	unsigned long locked = proc_field(getpid(), "status", "VmLck", 10);
	checkpoint();
	filled(a, 4 * PAGE, 1, "the locked mapping");
	CHECK(vm_flag(a, "lo"));
	CHECK(!vm_flag(a + 2 * PAGE, "lo"));
	CHECK(vm_flag(b, "lo"));
	CHECK(vm_flag(c, "lo"));
	CHECK(pagemap(a + PAGE) >> 63);
	EQ(proc_field(getpid(), "status", "VmLck", 10), locked);
	OK(munlock(a, PAGE));
	EQ(proc_field(getpid(), "status", "VmLck", 10), locked - 4);
	return pass();
}
