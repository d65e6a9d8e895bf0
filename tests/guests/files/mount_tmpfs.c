/* A file system of its own: files, deleted files with attributes and holes, a file without a name, a deleted working
 * directory, a FIFO. */
#include "../files.h"
#include <sys/mount.h>
#include <sys/xattr.h>
int main(void)
{
	char buf[16] = "";
	OK(mkdir("t", 0755));
	OK(mount("none", "t", "tmpfs", 0, "size=16m"));
	int f = made("t/f", O_RDWR, 0640, "named"), gone = made("t/gone", O_RDWR, 0604, "gone"), sparse = OK(open("t/s", O_CREAT | O_RDWR, 0600)),
	    linked = made("t/l", O_RDWR, 0600, "linked"), none = open("t", O_TMPFILE | O_RDWR, 0600), d = OK(open("t", O_RDONLY | O_DIRECTORY));
	OK(fsetxattr(gone, "trusted.t", "v", 1, 0));
	EQ(pwrite(sparse, "end", 3, 512 << 20), 3);
	OK(unlink("t/s"));
	OK(unlink("t/gone"));
	OK(link("t/l", "t/kept"));
	OK(unlink("t/l"));
	if (none >= 0)
		EQ(write(none, "no name", 7), 7);
	OK(mkdir("t/w", 0700));
	OK(mkfifo("t/fifo", 0600));
	int fifo = OK(open("t/fifo", O_RDWR));
	EQ(write(fifo, "queued", 6), 6);
	OK(unlink("t/fifo"));
	OK(chdir("t/w"));
	OK(rmdir("../w"));
	checkpoint();
	OK(chdir(guest_dir));
	is_at(f, "t/f");
	is_at(d, "t");
	is_at(linked, "t/kept");
	holds(gone, "gone");
	EQ(fgetxattr(gone, "trusted.t", buf, sizeof buf), 1);
	EQ(stat_of(sparse).st_size, (512 << 20) + 3);
	CHECK(stat_of(sparse).st_blocks < 100);
	EQ(pread(sparse, buf, 3, 512 << 20), 3);
	if (none >= 0)
		holds(none, "no name");
	EQ(read(fifo, buf, sizeof buf), 6);
	EQ(stat_of(f).st_dev, stat_of(gone).st_dev);
	close(f), close(gone), close(sparse), close(linked), close(none), close(d), close(fifo);
	OK(umount("t"));
	return pass();
}
