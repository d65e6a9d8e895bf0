/* Each end has flags of its own; duplicates share them; an end reopened through /proc is read-write. */
#include "../guest.h"
int main(void)
{
	char path[64];
	int p[2];
	OK(pipe(p));
	OK(fcntl(p[0], F_SETFL, O_NONBLOCK));
	int twin = OK(dup(p[1]));
	snprintf(path, sizeof path, "/proc/self/fd/%d", p[0]);
	int both = OK(open(path, O_RDWR | O_NONBLOCK)), w2 = OK(open(path, O_WRONLY | O_CLOEXEC));
	checkpoint();
	EQ(fcntl(p[0], F_GETFL), O_RDONLY | O_NONBLOCK);
	EQ(fcntl(p[1], F_GETFL), O_WRONLY);
	EQ(fcntl(both, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR | O_NONBLOCK);
	EQ(fcntl(w2, F_GETFL) & O_ACCMODE, O_WRONLY);
	EQ(fcntl(w2, F_GETFD), FD_CLOEXEC);
	CHECK(same_description(p[1], twin));
	CHECK(!same_description(p[1], w2));
	char c[4];
	EQ(write(both, "a", 1), 1);
	EQ(write(w2, "b", 1), 1);
	EQ(write(twin, "c", 1), 1);
	EQ(read(p[0], c, 4), 3);
	close(p[1]), close(twin), close(w2);
	ERR(read(p[0], c, 1), EAGAIN); /* both still writes */
	close(both);
	EQ(read(p[0], c, 1), 0);
	return pass();
}
