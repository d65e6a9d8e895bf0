/* userfaultfds and a process that is not of the tree any more. */
#include "uffd.h"
#include "unix_rights.h"
/* Forks a process whose parent has ended: 0 in it, and its number here. */
static inline pid_t go_away(void)
{
	int number[2];
	pid_t away = 0;
	OK(pipe2(number, O_CLOEXEC));
	pid_t between = OK(fork());
	if (!between) {
		away = OK(fork());
		if (away) {
			EQ(write(number[1], &away, sizeof away), sizeof away);
			_exit(0);
		}
		close(number[0]);
		close(number[1]);
		return 0;
	}
	reap_ok(between);
	EQ(read(number[0], &away, sizeof away), sizeof away);
	close(number[0]);
	close(number[1]);
	return away;
}
/* Stays until it is killed, and not for ever. */
static inline void stay_away(void)
{
	alarm(120);
	for (;;)
		pause();
}
