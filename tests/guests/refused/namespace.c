/* A namespace held open. */
#include "../guest.h"
int main(void)
{
	EQ(open("/proc/self/ns/net", O_RDONLY), 3);
	checkpoint();
	struct stat st;
	OK(fstat(3, &st));
	return pass();
}
