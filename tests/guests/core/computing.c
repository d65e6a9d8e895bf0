/* Processes that never enter the kernel compute the right result, wherever they were caught. */
#include "../guest.h"
#include <pthread.h>
static volatile bool stop;
static uint64_t step(uint64_t x) { return x * 6364136223846793005ULL + 1442695040888963407ULL; }
struct work { uint64_t n, x; double d; };
static void *run(void *arg)
{
	struct work *w = arg;
	while (!stop) {
		w->x = step(w->x);
		w->d = w->d * 1.0000001 + 0.5;
		if (w->d > 1e6)
			w->d -= 1e6;
		w->n++;
	}
	return NULL;
}
int main(void)
{
	struct work w[2] = { { 0, 1, 1.0 }, { 0, 2, 2.0 } };
	pthread_t t[2];
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, run, &w[i]);
	checkpoint();
	stop = true;
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], NULL);
		uint64_t x = i + 1;
		double d = i + 1;
		for (uint64_t k = 0; k < w[i].n; k++) {
			x = step(x);
			d = d * 1.0000001 + 0.5;
			if (d > 1e6)
				d -= 1e6;
		}
		EQ(w[i].x, x);
		CHECK(w[i].d == d);
	}
	return pass();
}
