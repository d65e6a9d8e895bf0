/* Waits of many sorts that are cut off by a checkpoint: none ends early without saying so, none for ever. */
#include "../motion.h"
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>
static int quiet[2];
static void late(double began, double ms, const char *what)
{
	double took = (now(CLOCK_MONOTONIC) - began) * 1000;
	if (took < ms - 0.5)
		FAIL("%s of %.1f ms took %.3f ms", what, ms, took);
}
static void *absolute(void *arg)
{
	while (moving()) {
		struct timespec t;
		clock_gettime(CLOCK_MONOTONIC, &t);
		double began = now(CLOCK_MONOTONIC);
		t.tv_nsec += 3000000;
		t.tv_sec += t.tv_nsec / 1000000000;
		t.tv_nsec %= 1000000000;
		int e;
		while ((e = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL)) == EINTR)
			;
		EQ(e, 0);
		late(began, 3, "an absolute sleep");
		step();
	}
	return arg;
}
static void *polls(void *arg)
{
	int e = OK(epoll_create1(EPOLL_CLOEXEC));
	while (moving()) {
		struct pollfd p = { quiet[0], POLLIN, 0 };
		int n = poll(&p, 1, 2);
		if (n && !(n < 0 && errno == EINTR))
			FAIL("poll gave %d, errno %d", n, errno);
		struct epoll_event got;
		n = epoll_wait(e, &got, 1, 2);
		if (n && !(n < 0 && errno == EINTR))
			FAIL("epoll_wait gave %d, errno %d", n, errno);
		fd_set set;
		FD_ZERO(&set);
		FD_SET(quiet[0], &set);
		struct timeval tv = { 0, 2000 };
		n = select(quiet[0] + 1, &set, NULL, NULL, &tv);
		if (n && !(n < 0 && errno == EINTR))
			FAIL("select gave %d, errno %d", n, errno);
		struct timespec ts = { 0, 2000000 };
		sigset_t none;
		sigemptyset(&none);
		sigaddset(&none, SIGUSR2);
		n = sigtimedwait(&none, NULL, &ts);
		if (n != -1 || (errno != EAGAIN && errno != EINTR))
			FAIL("sigtimedwait gave %d, errno %d", n, errno);
		step();
	}
	return arg;
}
static void *reads(void *arg)
{
	char c;
	ssize_t n;
	while ((n = read(quiet[0], &c, 1)) < 0 && errno == EINTR)
		;
	EQ(n, 1);
	return arg;
}
int main(void)
{
	motion_begin();
	OK(pipe2(quiet, O_CLOEXEC));
	pthread_t t[3];
	EQ(pthread_create(&t[0], NULL, absolute, NULL), 0);
	EQ(pthread_create(&t[1], NULL, polls, NULL), 0);
	EQ(pthread_create(&t[2], NULL, reads, NULL), 0);
	in_motion();
	while (moving()) {
		struct timespec ts = { 0, 2000000 };
		if (nanosleep(&ts, &ts) && errno != EINTR)
			FAIL("nanosleep: %s", strerror(errno));
		step();
	}
	EQ(pthread_join(t[0], NULL), 0);
	EQ(pthread_join(t[1], NULL), 0);
	EQ(write(quiet[1], "x", 1), 1);
	EQ(pthread_join(t[2], NULL), 0);
	return pass();
}
