/* A namespace that nobody lives in any more. */
#include "../guest.h"
int main(void)
{
	int own = OK(open("/proc/self/ns/uts", O_RDONLY));
	OK(unshare(CLONE_NEWUTS));
	int other = OK(open("/proc/self/ns/uts", O_RDONLY));
	OK(setns(own, CLONE_NEWUTS));
	checkpoint();
	OK(setns(other, CLONE_NEWUTS));
	return pass();
}
