/* Deleted files that are still open: content, mode, owner, offset; one description and one inode in several
 * places; the name is free again afterwards. */
#include "../guest.h"
int main(void)
{
	char buf[64] = "";
	int a = OK(open("gone", O_CREAT | O_RDWR, 0640));
	EQ(write(a, "deleted but open", 16), 16);
	OK(fchown(a, 12, 34));
	OK(fchmod(a, 0604));
	struct timespec times[2] = { { 1000000, 5 }, { 2000000, 7 } };
	OK(futimens(a, times));
	int b = OK(open("gone", O_RDONLY)), c = OK(dup(a));
	EQ(lseek(b, 8, SEEK_SET), 8);
	OK(unlink("gone"));
	int big = OK(open("big", O_CREAT | O_RDWR, 0600));
	char *block = malloc(300000);
	fill(block, 300000, 9);
	EQ(write(big, block, 300000), 300000);
	OK(unlink("big"));
	pid_t kid;
	struct latch l = latch_new();
	kid = OK(fork());
	if (!kid) {
		close(c);
		latch_open(l);
		wait_go();
		EQ(pread(a, buf, 7, 0), 7);
		STR_EQ(buf, "deleted");
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	struct stat st, st2;
	OK(fstat(a, &st));
	EQ(st.st_nlink, 0);
	EQ(st.st_mode, S_IFREG | 0604);
	EQ(st.st_uid, 12);
	EQ(st.st_gid, 34);
	EQ(st.st_size, 16);
	EQ(st.st_mtim.tv_sec, 2000000);
	OK(fstat(b, &st2));
	EQ(st2.st_ino, st.st_ino);
	CHECK(same_description(a, c));
	CHECK(!same_description(a, b));
	EQ(read(b, buf, 63), 8);
	CHECK(!memcmp(buf, "but open", 8));
	ERR(write(b, "x", 1), EBADF);
	EQ(lseek(a, 0, SEEK_CUR), 16);
	EQ(write(c, "!", 1), 1);
	EQ(pread(b, buf, 1, 16), 1);
	ERR(access("gone", F_OK), ENOENT);
	ERR(access("big", F_OK), ENOENT);
	char *again = malloc(300000);
	EQ(pread(big, again, 300000, 0), 300000);
	filled(again, 300000, 9, "the larger deleted file");
	reap_ok(kid);
	return pass();
}
