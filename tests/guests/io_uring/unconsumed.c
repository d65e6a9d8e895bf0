/* Completions wait to be taken, at every place of the ring and as many as it holds. */
#include "../io_uring.h"
#define RINGS 8
int main(void)
{
	struct ring r[RINGS];
	for (unsigned i = 0; i < RINGS; i++) {
		r[i] = ring_new(8, 0);
		ring_wear(&r[i], 5 + 3 * i);
		ring_nops(&r[i], 1 + i, 1000);
		ring_nops(&r[i], 8 - i / 2, 2000);
		if (i < 4)
			ring_nops(&r[i], 7 - i, 3000);
	}
	checkpoint();
	for (unsigned i = 0; i < RINGS; i++) {
		/* What comes now must not overwrite what is there. */
		unsigned waiting = 1 + i + 8 - i / 2 + (i < 4 ? 7 - i : 0);
		EQ(*r[i].cq_tail - *r[i].cq_head, waiting);
		unsigned fit = 16 - waiting < 8 ? 16 - waiting : 8;
		ring_nops(&r[i], fit, 4000);
		for (unsigned k = 0; k < 1 + i; k++)
			EQ(ring_take(&r[i], 1000 + k), 0);
		for (unsigned k = 0; k < 8 - i / 2; k++)
			EQ(ring_take(&r[i], 2000 + k), 0);
		for (unsigned k = 0; i < 4 && k < 7 - i; k++)
			EQ(ring_take(&r[i], 3000 + k), 0);
		for (unsigned k = 0; k < fit; k++)
			EQ(ring_take(&r[i], 4000 + k), 0);
		ring_idle(&r[i]);
		ring_wear(&r[i], 100);
	}
	return pass();
}
