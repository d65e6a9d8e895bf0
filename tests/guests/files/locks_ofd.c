/* Locks of the open file description. */
#include "../guest.h"
int main(void)
{
	int a = OK(open("f", O_CREAT | O_RDWR, 0600)), b = OK(open("f", O_RDWR));
	struct flock w = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 10 },
		     r = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 50, .l_len = 0 }, q;
	OK(fcntl(a, F_OFD_SETLK, &w));
	OK(fcntl(b, F_OFD_SETLK, &r));
	int twin = OK(dup(a));
	checkpoint();
	q = w;
	OK(fcntl(b, F_OFD_GETLK, &q));
	EQ(q.l_type, F_WRLCK);
	EQ(q.l_start, 5);
	EQ(q.l_len, 10);
	EQ(q.l_pid, -1);
	q = w;
	OK(fcntl(twin, F_OFD_GETLK, &q)); /* its own lock is no obstacle */
	EQ(q.l_type, F_UNLCK);
	q = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 70, .l_len = 1 };
	ERR(fcntl(a, F_OFD_SETLK, &q), EAGAIN);
	w.l_type = F_UNLCK;
	OK(fcntl(twin, F_OFD_SETLK, &w));
	q = (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 10 };
	OK(fcntl(b, F_OFD_SETLK, &q));
	return pass();
}
