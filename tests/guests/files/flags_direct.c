/* O_DIRECT, from the beginning and switched on later, with and without O_SYNC and O_APPEND. */
#include "../files.h"
int main(void)
{
	int a = made("f", O_RDWR, 0600, ""), b = open("f", O_RDWR | O_DIRECT), seen[4];
	if (b < 0)
		SKIP("no O_DIRECT on this filesystem: %s", strerror(errno));
	void *block;
	EQ(posix_memalign(&block, PAGE, PAGE), 0);
	fill(block, PAGE, 1);
	int c = OK(open("f", O_WRONLY | O_DIRECT | O_SYNC | O_APPEND)), gone = OK(open("g", O_CREAT | O_RDWR | O_DIRECT, 0600));
	OK(unlink("g"));
	OK(fcntl(a, F_SETFL, O_DIRECT | O_NOATIME));
	EQ(pwrite(gone, block, PAGE, 0), PAGE);
	int fds[4] = {a, b, c, gone};
	for (int i = 0; i < 4; i++)
		seen[i] = OK(fcntl(fds[i], F_GETFL));
	checkpoint();
	for (int i = 0; i < 4; i++) {
		EQ(fcntl(fds[i], F_GETFL), seen[i]);
		CHECK(seen[i] & O_DIRECT);
	}
	EQ(write(c, block, PAGE), PAGE);
	memset(block, 0, PAGE);
	EQ(pread(b, block, PAGE, 0), PAGE);
	filled(block, PAGE, 1, "read directly");
	memset(block, 0, PAGE);
	EQ(pread(gone, block, PAGE, 0), PAGE);
	filled(block, PAGE, 1, "the deleted file");
	return pass();
}
