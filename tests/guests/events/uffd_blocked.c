/* Threads that wait in a fault during the checkpoint: the message about one has been read, that about the other has not.
   Both fault again, and go on when they are answered. */
#include "../uffd.h"
static char *area;
static void *fault(void *page)
{
	return (void *)(uintptr_t) * (volatile unsigned *)page;
}
static void await(int fd, const char *field, unsigned long long count)
{
	char path[32];
	snprintf(path, sizeof path, "fdinfo/%d", fd);
	while (proc_field(getpid(), path, field, 10) != count)
		sched_yield();
}
int main(void)
{
	needs_pagemap_scan();
	pthread_t threads[2];
	void *result;
	int fd = uffd(O_CLOEXEC | O_NONBLOCK, 0);
	area = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uffd_register(fd, area, 4 * PAGE, UFFDIO_REGISTER_MODE_MISSING);
	EQ(pthread_create(&threads[0], NULL, fault, area + PAGE), 0);
	CHECK(uffd_fault(fd, 0) == area + PAGE);
	EQ(pthread_create(&threads[1], NULL, fault, area + 2 * PAGE), 0);
	await(fd, "pending", 1);
	checkpoint();
	/* As after any signal, a thread asks again: at least the unread message is there. */
	bool seen[4] = { 0 };
	while (!seen[2]) {
		char *page = uffd_fault(fd, 0);
		seen[(page - area) / PAGE] = true;
	}
	CHECK(!seen[0] && !seen[3]);
	uffd_copy(fd, area + PAGE, 5);
	uffd_copy(fd, area + 2 * PAGE, 6);
	EQ(pthread_join(threads[0], &result), 0);
	EQ((uintptr_t)result, 5);
	EQ(pthread_join(threads[1], &result), 0);
	EQ((uintptr_t)result, 6);
	EQ(pagemap(area), 0);
	EQ(pagemap(area + 3 * PAGE), 0);
	return pass();
}
