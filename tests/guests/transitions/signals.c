/* Signals from oneself, between processes and from timers, each counted: queued ones come all, once, in order. */
#include "../motion.h"
static volatile sig_atomic_t own, alarms;
static volatile int expected, odd;
static void on_own(int s) { own++; }
static void on_alarm(int s) { alarms++; }
static void on_queued(int s, siginfo_t *i, void *c)
{
	if (i->si_value.sival_int != expected || i->si_code != SI_QUEUE)
		odd = 1;
	expected++;
}
int main(void)
{
	motion_begin();
	struct sigaction queued = { .sa_sigaction = on_queued, .sa_flags = SA_SIGINFO | SA_RESTART },
			 self = { .sa_handler = on_own, .sa_flags = SA_RESTART }, tick = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	OK(sigaction(SIGRTMIN + 2, &queued, NULL));
	OK(sigaction(SIGUSR1, &self, NULL));
	OK(sigaction(SIGALRM, &tick, NULL));
	pid_t parent = getpid();
	pid_t kid = CHILD(
		int i = 0;
		while (moving()) {
			union sigval v = { .sival_int = i };
			if (sigqueue(parent, SIGRTMIN + 2, v)) {
				CHECK(errno == EAGAIN); /* the queue is full */
				sched_yield();
				continue;
			}
			i++;
		}
		_exit(0));
	struct itimerval often = { { 0, 1000 }, { 0, 1000 } }, never = { { 0 } };
	OK(setitimer(ITIMER_REAL, &often, NULL));
	in_motion();
	int raised = 0;
	while (moving()) {
		OK(kill(getpid(), SIGUSR1));
		raised++;
		EQ(own, raised);
		if (odd)
			FAIL("a queued signal is out of order near number %d", expected);
		step();
	}
	OK(setitimer(ITIMER_REAL, &never, NULL));
	int status;
	while (waitpid(kid, &status, 0) < 0)
		CHECK(errno == EINTR);
	EQ(status, 0);
	EQ(odd, 0);
	CHECK(alarms > 0 && expected > 0);
	return pass();
}
