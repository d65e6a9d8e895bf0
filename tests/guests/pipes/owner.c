/* Pipes of another user, with other modes: their owner may open them by /proc, as /dev/stdout is opened. */
#include "../guest.h"
static void is(int fd, unsigned uid, unsigned gid, unsigned mode)
{
	struct stat s;
	OK(fstat(fd, &s));
	EQ(s.st_uid, uid);
	EQ(s.st_gid, gid);
	EQ(s.st_mode, S_IFIFO | mode);
}
/* As a user of no rights. */
static void opens(int fd, uid_t uid, int flags, int error)
{
	pid_t child = OK(fork());
	if (!child) {
		char path[32];
		OK(setresgid(uid, uid, uid));
		OK(setresuid(uid, uid, uid));
		OK(prctl(PR_SET_DUMPABLE, 1));
		sprintf(path, "/proc/self/fd/%d", fd);
		if (error)
			ERR(open(path, flags), error);
		else
			OK(open(path, flags));
		_exit(0);
	}
	reap_ok(child);
}
int main(void)
{
	int theirs[2], open_to_all[2], plain[2], full[2], travelling[2], pair[2];
	char buf[16];
	/* Made by that user itself. */
	OK(setegid(4321));
	OK(seteuid(1234));
	OK(pipe(theirs));
	OK(pipe(full));
	OK(pipe(travelling));
	OK(seteuid(0));
	OK(setegid(0));
	OK(pipe(open_to_all));
	OK(pipe(plain));
	OK(fchmod(open_to_all[0], 0646));
	EQ(write(full[1], "kept", 4), 4);
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } control;
	struct iovec v = { "x", 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	control.h = (struct cmsghdr){ CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.h), &travelling[0], sizeof(int));
	EQ(sendmsg(pair[0], &m, 0), 1);
	close(travelling[0]);
	close(travelling[1]);
	checkpoint();
	is(theirs[0], 1234, 4321, 0600);
	is(theirs[1], 1234, 4321, 0600);
	is(full[0], 1234, 4321, 0600);
	is(open_to_all[1], 0, 0, 0646);
	is(plain[0], 0, 0, 0600);
	opens(theirs[1], 1234, O_WRONLY, 0);
	opens(theirs[1], 77, O_WRONLY, EACCES);
	opens(open_to_all[1], 77, O_WRONLY, 0);
	opens(plain[1], 1234, O_WRONLY, EACCES);
	EQ(read(full[0], buf, sizeof buf), 4);
	v.iov_base = buf;
	EQ(recvmsg(pair[1], &m, 0), 1);
	int got;
	memcpy(&got, CMSG_DATA(&control.h), sizeof got);
	is(got, 1234, 4321, 0600);
	return pass();
}
