/* One description under several numbers shares its offset; two opens of a path do not. */
#include "../guest.h"
int main(void)
{
	int a = OK(open("f", O_CREAT | O_RDWR, 0600));
	EQ(write(a, "abcdefghij", 10), 10);
	int b = OK(dup(a)), c = OK(fcntl(a, F_DUPFD, 100)), other = OK(open("f", O_RDWR));
	EQ(lseek(a, 2, SEEK_SET), 2);
	EQ(lseek(other, 7, SEEK_SET), 7);
	checkpoint();
	CHECK(same_description(a, b));
	CHECK(same_description(a, c));
	CHECK(!same_description(a, other));
	EQ(lseek(b, 3, SEEK_CUR), 5);
	EQ(lseek(c, 0, SEEK_CUR), 5);
	EQ(lseek(a, 0, SEEK_CUR), 5);
	EQ(lseek(other, 0, SEEK_CUR), 7);
	return pass();
}
