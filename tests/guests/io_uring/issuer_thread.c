/* A later thread made rings that it alone may use. It and the leading one may run where they did. */
#include "../io_uring.h"
static struct ring single, defer;
static int fd;
static struct latch made, go;
static volatile int stage;
static cpu_set_t processors(void)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	OK(sched_getaffinity(0, sizeof set, &set));
	return set;
}
static void *issuer(void *unused)
{
	(void)unused;
	cpu_set_t all = processors(), last, now;
	CPU_ZERO(&last);
	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, &all)) {
			CPU_ZERO(&last);
			CPU_SET(i, &last);
		}
	OK(sched_setaffinity(0, sizeof last, &last));
	single = ring_new(8, IORING_SETUP_SINGLE_ISSUER);
	defer = ring_new(4, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	ring_wear(&single, 11);
	ring_wear(&defer, 1005);
	ring_nops(&defer, 3, 70);
	latch_open(made);
	latch_wait(go);
	now = processors();
	CHECK(CPU_EQUAL(&now, &last));
	for (unsigned i = 0; i < 3; i++)
		EQ(ring_take(&defer, 70 + i), 0);
	ring_works(&single, fd);
	ring_works(&defer, fd);
	ring_wear(&defer, 33);
	return NULL;
}
int main(void)
{
	pthread_t thread;
	fd = scratch_file();
	made = latch_new();
	go = latch_new();
	EQ(pthread_create(&thread, NULL, issuer, NULL), 0);
	latch_wait(made);
	cpu_set_t all = processors(), now;
	checkpoint();
	now = processors();
	CHECK(CPU_EQUAL(&now, &all));
	unsigned char probe[16 + 256 * 8] = "";
	ERR(ring_register(single.fd, IORING_REGISTER_PROBE, probe, 256), EEXIST);
	ERR(ring_enter(&defer, 0, 0, IORING_ENTER_GETEVENTS), EEXIST);
	latch_open(go);
	EQ(pthread_join(thread, NULL), 0);
	return pass();
}
