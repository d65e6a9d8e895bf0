/* A description shared by parent and children, also under other numbers, and after the parent closed its own. */
#include "../guest.h"
int main(void)
{
	int a = OK(open("f", O_CREAT | O_RDWR, 0600)), theirs = OK(open("g", O_CREAT | O_RDWR, 0600));
	EQ(write(a, "abcdefghij", 10), 10);
	EQ(lseek(a, 1, SEEK_SET), 1);
	pid_t kid[2];
	struct latch l[2] = { latch_new(), latch_new() };
	for (int i = 0; i < 2; i++) {
		kid[i] = OK(fork());
		if (!kid[i]) {
			int fd = OK(dup2(a, 60 + i));
			close(a);
			latch_open(l[i]);
			wait_go();
			/* what one moves the others see; theirs lives in the children alone */
			OK(lseek(fd, 1, SEEK_CUR));
			EQ(write(theirs, "x", 1), 1);
			_exit(0);
		}
	}
	close(theirs);
	latch_wait(l[0]);
	latch_wait(l[1]);
	checkpoint();
	reap_ok(kid[0]);
	reap_ok(kid[1]);
	EQ(lseek(a, 0, SEEK_CUR), 3);
	struct stat st;
	OK(stat("g", &st));
	EQ(st.st_size, 2);
	return pass();
}
