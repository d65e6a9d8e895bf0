/* Limits that leave no room for anything: neither a dump nor a restore needs any of the process's. */
#include "../guest.h"
static void tighten(int limit, rlim_t to)
{
	struct rlimit l;
	OK(getrlimit(limit, &l));
	l.rlim_cur = to; /* the hard one is the privileged's to raise */
	OK(setrlimit(limit, &l));
}
static rlim_t in_use(const char *field)
{
	return (rlim_t)proc_field(getpid(), "status", field, 10) << 10;
}
int main(void)
{
	char *memory = map(8 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fill(memory, 8 << 20, 7);
	char *shared = map(1 << 20, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fill(shared, 1 << 20, 8);
	rlim_t address = in_use("VmSize"), data = in_use("VmData");
	tighten(RLIMIT_FSIZE, 1);
	tighten(RLIMIT_NPROC, 1);
	tighten(RLIMIT_SIGPENDING, 0);
	tighten(RLIMIT_MEMLOCK, 0);
	tighten(RLIMIT_MSGQUEUE, 0);
	tighten(RLIMIT_CORE, 0);
	tighten(RLIMIT_NOFILE, 4);
	tighten(RLIMIT_STACK, 64 << 10);
	tighten(RLIMIT_DATA, data);
	tighten(RLIMIT_AS, address);
	checkpoint();
	struct rlimit l;
	OK(getrlimit(RLIMIT_AS, &l));
	CHECK(l.rlim_cur == address);
	OK(getrlimit(RLIMIT_DATA, &l));
	CHECK(l.rlim_cur == data);
	OK(getrlimit(RLIMIT_NOFILE, &l));
	CHECK(l.rlim_cur == 4);
	OK(getrlimit(RLIMIT_FSIZE, &l));
	CHECK(l.rlim_cur == 1);
	CHECK(mmap(NULL, PAGE, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED && errno == ENOMEM);
	filled(memory, 8 << 20, 7, "private memory");
	filled(shared, 1 << 20, 8, "shared memory");
	return pass();
}
