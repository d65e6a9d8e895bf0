/* An overlay: files of the lower and the upper layer, copied up before and after they were opened, deleted from each,
 * renamed, a merged directory half read, mappings. */
#include "../files.h"
#include <sys/mount.h>
int main(void)
{
	char buf[64];
	OK(mkdir("base", 0755));
	OK(mount("none", "base", "tmpfs", 0, NULL)); /* may serve as an upper layer everywhere */
	OK(mkdir("base/lower", 0755)), OK(mkdir("base/upper", 0755)), OK(mkdir("base/work", 0755)), OK(mkdir("o", 0755));
	static const char *const names[] = {"low", "low-gone", "low-copied", "low-mapped", "low-linked"};
	for (int i = 0; i < 5; i++) {
		snprintf(buf, sizeof buf, "base/lower/%s", names[i]);
		close(made(buf, O_RDWR, 0640, names[i]));
	}
	OK(mkdir("base/lower/dir", 0755));
	for (int i = 0; i < 20; i++) {
		snprintf(buf, sizeof buf, "base/lower/dir/entry-%d", i);
		close(made(buf, O_RDWR, 0600, ""));
	}
	close(made("base/upper/up", O_RDWR, 0600, "up"));
	if (mount("none", "o", "overlay", 0, "lowerdir=base/lower,upperdir=base/upper,workdir=base/work")) {
		int error = errno;
		OK(umount2("base", MNT_DETACH));
		SKIP("no overlay: %s", strerror(error));
	}
	int low = OK(open("o/low", O_RDONLY)), gone = OK(open("o/low-gone", O_RDONLY)), copied = OK(open("o/low-copied", O_RDONLY)),
	    up = OK(open("o/up", O_RDWR)), new = made("o/new", O_RDWR, 0600, "new"), new_gone = made("o/new-gone", O_RDWR, 0600, "new gone"),
	    dir = OK(open("o/dir", O_RDONLY | O_DIRECTORY)), top = OK(open("o", O_RDONLY | O_DIRECTORY));
	int m = OK(open("o/low-mapped", O_RDONLY));
	char *mapped = map(PAGE, PROT_READ, MAP_PRIVATE, m, 0);
	close(m);
	OK(unlink("o/low-gone"));
	OK(unlink("o/new-gone"));
	int w = OK(open("o/low-copied", O_WRONLY | O_APPEND));
	EQ(write(w, "!", 1), 1);
	close(made("o/dir/entry-new", O_RDWR, 0600, ""));
	OK(rename("o/up", "o/renamed"));
	OK(syscall(SYS_getdents64, dir, buf, sizeof buf));
	checkpoint();
	is_at(low, "o/low");
	holds(low, "low");
	holds(gone, "low-gone");
	holds(new_gone, "new gone");
	EQ(stat_of(new_gone).st_nlink, 0);
	holds(copied, "low-copied!");
	is_at(up, "o/renamed");
	is_at(new, "o/new");
	is_at(dir, "o/dir");
	is_at(top, "o");
	STR_EQ(mapped, "low-mapped");
	OK(syscall(SYS_getdents64, dir, buf, sizeof buf));
	EQ(write(w, "?", 1), 1);
	holds(copied, "low-copied!?");
	ERR(access("o/low-gone", F_OK), ENOENT);
	ERR(access("o/new-gone", F_OK), ENOENT);
	munmap(mapped, PAGE);
	close(low), close(gone), close(copied), close(up), close(new), close(new_gone), close(dir), close(top), close(w);
	OK(umount("o"));
	OK(umount("base"));
	return pass();
}
