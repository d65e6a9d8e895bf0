/* One FIFO under two names, renamed, one that was deleted and made again, one whose first name is gone. */
#include "../files.h"
int main(void)
{
	char buf[32] = "";
	OK(mkfifo("a", 0600));
	OK(link("a", "b"));
	int a = OK(open("a", O_RDWR)), b = OK(open("b", O_RDONLY | O_NONBLOCK)), w = OK(open("b", O_WRONLY | O_APPEND));
	EQ(write(a, "one pipe", 8), 8);
	OK(mkfifo("m", 0640));
	int m = OK(open("m", O_RDWR | O_NONBLOCK));
	EQ(write(m, "moved", 5), 5);
	OK(rename("m", "n"));
	OK(mkfifo("again", 0600));
	int old = OK(open("again", O_RDWR | O_NONBLOCK));
	EQ(write(old, "old", 3), 3);
	OK(unlink("again"));
	OK(mkfifo("again", 0644));
	int new = OK(open("again", O_RDWR | O_NONBLOCK));
	EQ(write(new, "newer", 5), 5);
	OK(mkfifo("x", 0600));
	OK(link("x", "kept"));
	int x = OK(open("x", O_RDWR | O_NONBLOCK));
	EQ(write(x, "first name", 10), 10);
	OK(unlink("x"));
	checkpoint();
	leads_to(a, "a");
	leads_to(b, "b");
	leads_to(w, "b");
	is_at(a, "b");
	EQ(read(b, buf, sizeof buf), 8);
	EQ(write(w, "w", 1), 1);
	EQ(read(a, buf, sizeof buf), 1);
	is_at(m, "n");
	EQ(read(m, buf, sizeof buf), 5);
	EQ(read(old, buf, sizeof buf), 3);
	EQ(read(new, buf, sizeof buf), 5);
	is_at(new, "again");
	EQ(stat_of(old).st_nlink, 0);
	is_at(x, "kept");
	EQ(read(x, buf, sizeof buf), 10);
	ERR(access("x", F_OK), ENOENT);
	return pass();
}
