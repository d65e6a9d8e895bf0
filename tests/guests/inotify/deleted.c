/* Deleted files that are watched and still open, mapped, or a working directory: the watch is on the same inode
 * as the descriptor, and its end is told when that goes. */
#include "../notify.h"
static int lone(int fd)
{
	char line[4096], *text = strdup(watched(fd));
	int count = 0;
	for (char *at = strtok(text, "\n"); at; at = strtok(NULL, "\n")) {
		strncpy(line, at, sizeof line - 1);
		count++;
	}
	free(text);
	return count;
}
int main(void)
{
	int fd = OK(inotify_init1(0));
	int open_one = OK(open("open", O_CREAT | O_RDWR, 0600));
	int mapped = OK(open("mapped", O_CREAT | O_RDWR, 0600));
	OK(ftruncate(mapped, PAGE));
	char *at = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, mapped, 0);
	OK(mkdir("dir", 0700));
	int dir = OK(open("dir", O_RDONLY | O_DIRECTORY));
	OK(mkdir("cwd", 0700));
	int a = OK(inotify_add_watch(fd, "open", IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_CLOSE_WRITE));
	int m = OK(inotify_add_watch(fd, "mapped", IN_ATTRIB | IN_DELETE_SELF));
	int d = OK(inotify_add_watch(fd, "dir", IN_ATTRIB | IN_DELETE_SELF));
	int c = OK(inotify_add_watch(fd, "cwd", IN_DELETE_SELF));
	OK(chdir("cwd"));
	OK(unlink("../open"));
	EVENT(fd, a, IN_ATTRIB, "");
	OK(unlink("../mapped"));
	EVENT(fd, m, IN_ATTRIB, "");
	OK(close(mapped));
	OK(rmdir("../dir"));
	OK(rmdir("../cwd"));
	quiet(fd);
	checkpoint();
	quiet(fd);
	EQ(lone(fd), 4);
	EQ(write(open_one, "x", 1), 1);
	EVENT(fd, a, IN_MODIFY, "");
	OK(fchmod(dir, 0500));
	EVENT(fd, d, IN_ATTRIB | IN_ISDIR, "");
	at[0] = 1;
	OK(close(open_one));
	EVENT(fd, a, IN_CLOSE_WRITE, "");
	EVENT(fd, a, IN_DELETE_SELF, "");
	EVENT(fd, a, IN_IGNORED, "");
	OK(munmap(at, PAGE));
	EVENT(fd, m, IN_DELETE_SELF, "");
	EVENT(fd, m, IN_IGNORED, "");
	OK(close(dir));
	EVENT(fd, d, IN_DELETE_SELF, "");
	EVENT(fd, d, IN_IGNORED, "");
	OK(chdir("/"));
	EVENT(fd, c, IN_DELETE_SELF, "");
	EVENT(fd, c, IN_IGNORED, "");
	quiet(fd);
	return pass();
}
