/* Counters at their limits, semaphores, and threads that wait for room, for a count, for readiness. */
#include "../guest.h"
#include <pthread.h>
#include <sys/eventfd.h>
#define FULL 0xfffffffffffffffeULL
static int full, empty, semaphore;
static void *writer(void *arg)
{
	uint64_t five = 5;
	EQ(write(full, &five, 8), 8);
	return arg;
}
static void *reader(void *arg)
{
	uint64_t v;
	EQ(read(empty, &v, 8), 8);
	EQ(v, 9);
	return arg;
}
static void *poller(void *arg)
{
	struct pollfd p = { semaphore, POLLIN, 0 };
	EQ(poll(&p, 1, -1), 1);
	return arg;
}
static bool sleeps(void)
{
	/* All threads but this one. */
	char path[64], state;
	for (int i = 1; i < 4; i++) {
		snprintf(path, sizeof path, "/proc/self/task/%d/stat", getpid() + i);
		FILE *f = fopen(path, "re");
		bool asleep = f && fscanf(f, "%*d %*s %c", &state) == 1 && state == 'S';
		if (f)
			fclose(f);
		if (!f)
			return true; /* other numbers: nothing to be told */
		if (!asleep)
			return false;
	}
	return true;
}
int main(void)
{
	uint64_t v = FULL;
	full = OK(eventfd(0, 0));
	empty = OK(eventfd(0, 0));
	semaphore = OK(eventfd(0, EFD_SEMAPHORE));
	int near = OK(eventfd(0, EFD_NONBLOCK)), max = OK(eventfd(0xffffffff, EFD_NONBLOCK | EFD_CLOEXEC)),
	    many = OK(eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK));
	EQ(write(full, &v, 8), 8);
	EQ(write(many, &v, 8), 8);
	v = FULL - 1;
	EQ(write(near, &v, 8), 8);
	pthread_t t[3];
	EQ(pthread_create(&t[0], NULL, writer, NULL), 0);
	EQ(pthread_create(&t[1], NULL, reader, NULL), 0);
	EQ(pthread_create(&t[2], NULL, poller, NULL), 0);
	while (!sleeps())
		usleep(100);
	checkpoint();
	v = 2;
	ERR(write(near, &v, 8), EAGAIN);
	v = 1;
	EQ(write(near, &v, 8), 8);
	EQ(read(near, &v, 8), 8);
	EQ(v, FULL);
	EQ(read(max, &v, 8), 8);
	EQ(v, 0xffffffff);
	EQ(fcntl(max, F_GETFD), FD_CLOEXEC);
	for (int i = 0; i < 3; i++) {
		EQ(read(many, &v, 8), 8);
		EQ(v, 1);
	}
	v = 3;
	EQ(write(many, &v, 8), 8);
	v = 1;
	ERR(write(many, &v, 8), EAGAIN);
	EQ(read(full, &v, 8), 8);
	EQ(v, FULL);
	EQ(pthread_join(t[0], NULL), 0);
	EQ(read(full, &v, 8), 8);
	EQ(v, 5);
	v = 9;
	EQ(write(empty, &v, 8), 8);
	EQ(pthread_join(t[1], NULL), 0);
	v = 1;
	EQ(write(semaphore, &v, 8), 8);
	EQ(pthread_join(t[2], NULL), 0);
	return pass();
}
