/* An offset whose highest bit is set: of /proc/PID/mem, where addresses of the kernel's half can be asked for. */
#include "../files.h"
int main(void)
{
	int fd = OK(open("/proc/self/mem", O_RDONLY));
	off_t at = (off_t)0xffffffff80001000;
	if (syscall(SYS_lseek, fd, at, SEEK_SET) != at)
		SKIP("no such offset here");
	checkpoint();
	EQ(syscall(SYS_lseek, fd, 0, SEEK_CUR), at);
	return pass();
}
