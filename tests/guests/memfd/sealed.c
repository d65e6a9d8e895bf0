/* Every seal, on content that could not be written any more. */
#include "../guest.h"
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x10
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U
#endif
int main(void)
{
	static const int seals[] = { 0, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_SEAL, F_SEAL_FUTURE_WRITE,
				     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL };
	int fd[7];
	for (int i = 0; i < 7; i++) {
		fd[i] = OK(memfd_create("sealed", MFD_ALLOW_SEALING));
		EQ(write(fd[i], "12345678", 8), 8);
		OK(fcntl(fd[i], F_ADD_SEALS, seals[i]));
	}
	char *w = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd[0], 0);
	int future = OK(memfd_create("future", MFD_ALLOW_SEALING));
	OK(ftruncate(future, PAGE));
	char *fw = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, future, 0);
	OK(fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE)); /* this mapping may still write */
	int noexec = memfd_create("noexec", MFD_NOEXEC_SEAL);
	int ns = noexec < 0 ? 0 : OK(fcntl(noexec, F_GET_SEALS));
	checkpoint();
	for (int i = 0; i < 7; i++) {
		char buf[9] = "";
		EQ(fcntl(fd[i], F_GET_SEALS), seals[i]);
		EQ(pread(fd[i], buf, 8, 0), 8);
		STR_EQ(buf, "12345678");
		EQ(lseek(fd[i], 0, SEEK_CUR), 8);
	}
	ERR(pwrite(fd[3], "x", 1, 0), EPERM);
	ERR(ftruncate(fd[1], 1), EPERM);
	ERR(ftruncate(fd[2], 100), EPERM);
	ERR(fcntl(fd[4], F_ADD_SEALS, F_SEAL_WRITE), EPERM);
	w[0] = 'W';
	fw[0] = 'F';
	char c;
	EQ(pread(future, &c, 1, 0), 1);
	EQ(c, 'F');
	ERR(pwrite(future, "x", 1, 0), EPERM);
	if (noexec >= 0)
		EQ(fcntl(noexec, F_GET_SEALS), ns);
	return pass();
}
