/* A later thread made rings that it alone may use. */
#include "../io_uring.h"
static struct ring single, defer;
static int fd;
static struct latch made, go;
static volatile int stage;
static void *issuer(void *unused)
{
	(void)unused;
	single = ring_new(8, IORING_SETUP_SINGLE_ISSUER);
	defer = ring_new(4, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
	ring_wear(&single, 11);
	ring_wear(&defer, 5);
	ring_nops(&defer, 3, 70);
	latch_open(made);
	latch_wait(go);
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
	checkpoint();
	unsigned char probe[16 + 256 * 8] = "";
	ERR(ring_register(single.fd, IORING_REGISTER_PROBE, probe, 256), EEXIST);
	ERR(ring_enter(&defer, 0, 0, IORING_ENTER_GETEVENTS), EEXIST);
	latch_open(go);
	EQ(pthread_join(thread, NULL), 0);
	return pass();
}
