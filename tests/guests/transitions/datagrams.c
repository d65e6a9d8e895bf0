/* Numbered datagrams through a unix socket with a name, and signals' descriptor beside them. */
#include "../motion.h"
#include <sys/signalfd.h>
#include <sys/un.h>
int main(void)
{
	motion_begin();
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGRTMIN + 3);
	OK(sigprocmask(SIG_BLOCK, &m, NULL));
	int sfd = OK(signalfd(-1, &m, SFD_NONBLOCK));
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	snprintf(at.sun_path, sizeof at.sun_path, "box");
	int box = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	OK(bind(box, (struct sockaddr *)&at, sizeof at));
	pid_t parent = getpid();
	pid_t kid = CHILD(
		int s = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
		OK(connect(s, (struct sockaddr *)&at, sizeof at));
		uint64_t i = 0, none = ~0ULL;
		for (; moving(); i++) {
			uint64_t text[64];
			size_t len = (i % 63 + 1) * 8;
			for (size_t k = 0; k < len / 8; k++)
				text[k] = i;
			ssize_t n;
			while ((n = send(s, text, len, 0)) < 0 && errno == EINTR)
				;
			EQ(n, len);
			if (i % 50 == 0)
				OK(sigqueue(parent, SIGRTMIN + 3, (union sigval){ .sival_int = i / 50 }));
			step();
		}
		EQ(send(s, &none, 8, 0), 8));
	in_motion();
	int signals = 0;
	for (uint64_t i = 0;; i++) {
		uint64_t text[64];
		ssize_t n;
		while ((n = recv(box, text, sizeof text, 0)) < 0 && errno == EINTR)
			;
		OK(n);
		if (n == 8 && text[0] == ~0ULL)
			break;
		EQ(n, (i % 63 + 1) * 8);
		for (ssize_t k = 0; k < n / 8; k++)
			EQ(text[k], i);
		struct signalfd_siginfo si;
		while (read(sfd, &si, sizeof si) == sizeof si)
			EQ(si.ssi_int, signals++);
	}
	reap_ok(kid);
	struct signalfd_siginfo si;
	while (read(sfd, &si, sizeof si) == sizeof si)
		EQ(si.ssi_int, signals++);
	CHECK(signals > 0);
	return pass();
}
