/* A root directory that was deleted, with a deleted working directory in it; another whose root lives. */
#include "../files.h"
int main(void)
{
	struct stat st, root;
	OK(mkdir("r", 0755));
	OK(mkdir("r/w", 0751));
	OK(mkdir("jail", 0755));
	OK(mkdir("jail/in", 0755));
	OK(mkdir("jail/in/gone", 0755));
	int ready[2], set[2];
	OK(pipe(ready));
	OK(pipe(set));
	pid_t kid = OK(fork());
	if (!kid) {
		char byte;
		OK(chdir("r/w"));
		OK(chroot(".."));
		EQ(write(set[1], "x", 1), 1);
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 0) /* the parent closes it after the checkpoint */
			_exit(2);
		if (stat(".", &st) || st.st_nlink || st.st_mode != (S_IFDIR | 0751))
			_exit(3);
		if (stat("/", &root) || root.st_nlink || root.st_mode != (S_IFDIR | 0755))
			_exit(4);
		_exit(chdir("/") || access("x", F_OK) == 0 ? 5 : 0);
	}
	pid_t live = OK(fork());
	if (!live) {
		char byte;
		OK(chroot("jail"));
		OK(chdir("/in/gone"));
		OK(rmdir("/in/gone"));
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 0)
			_exit(2);
		if (stat(".", &st) || st.st_nlink)
			_exit(3);
		_exit(access("/in", F_OK) ? 4 : 0);
	}
	char byte;
	EQ(read(set[0], &byte, 1), 1);
	while (!access("jail/in/gone", F_OK))
		sched_yield();
	OK(rmdir("r/w"));
	OK(rmdir("r"));
	checkpoint();
	close(ready[1]);
	reap_ok(kid);
	reap_ok(live);
	ERR(access("r", F_OK), ENOENT);
	return pass();
}
