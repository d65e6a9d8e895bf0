/* Files and directories below bind mounts: over a file, over a directory, read-only, of a source that was deleted. */
#include "../files.h"
#include <sys/mount.h>
int main(void)
{
	OK(mkdir("src", 0755));
	OK(mkdir("dst", 0755));
	OK(mkdir("ro", 0755));
	close(made("src/f", O_RDWR, 0600, "source"));
	close(made("plain", O_RDWR, 0600, "one file"));
	close(made("over", O_RDWR, 0600, "hidden"));
	close(made("gone-src", O_RDWR, 0600, "deleted source"));
	close(made("gone-dst", O_RDWR, 0600, "hidden"));
	OK(mount("src", "dst", NULL, MS_BIND, NULL));
	OK(mount("src", "ro", NULL, MS_BIND, NULL));
	OK(mount(NULL, "ro", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL));
	OK(mount("plain", "over", NULL, MS_BIND, NULL));
	OK(mount("gone-src", "gone-dst", NULL, MS_BIND, NULL));
	OK(unlink("gone-src"));
	int f = OK(open("dst/f", O_RDWR)), d = OK(open("dst", O_RDONLY)), r = OK(open("ro/f", O_RDONLY)), o = OK(open("over", O_RDWR)),
	    g = OK(open("gone-dst", O_RDWR)), lost = made("dst/lost", O_RDWR, 0600, "deleted through a mount");
	OK(unlink("src/lost"));
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		OK(chdir("dst"));
		latch_open(l);
		wait_go();
		int own = OK(open("f", O_RDWR));
		holds(own, "source");
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	leads_to(f, "dst/f");
	leads_to(d, "dst");
	leads_to(r, "ro/f");
	leads_to(o, "over");
	is_at(f, "src/f");
	is_at(o, "plain");
	holds(o, "one file");
	holds(g, "deleted source");
	holds(lost, "deleted through a mount");
	EQ(stat_of(lost).st_nlink, 0);
	EQ(stat_of(g).st_nlink, 0);
	ERR(openat(r, "", O_RDWR), ENOENT);
	reap_ok(kid);
	close(f), close(d), close(r), close(o), close(g), close(lost);
	OK(umount2("gone-dst", MNT_DETACH));
	OK(umount2("over", MNT_DETACH));
	OK(umount2("ro", MNT_DETACH));
	OK(umount2("dst", MNT_DETACH));
	return pass();
}
