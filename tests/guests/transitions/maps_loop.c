/* Mappings that come, change and go, in two processes, with their contents checked each time. */
#include "../motion.h"
#define SLOTS 32
static void work(uint32_t seed)
{
	struct {
		char *at;
		size_t len;
		unsigned mark;
		bool locked;
	} slot[SLOTS] = { { 0 } };
	unsigned count = 0;
	while (moving()) {
		int i = next_random(&seed) % SLOTS;
		switch (next_random(&seed) % 5) {
		case 0: /* away, and a new one */
			if (slot[i].at) {
				filled(slot[i].at, slot[i].len, slot[i].mark, "a mapping that goes");
				OK(munmap(slot[i].at, slot[i].len));
			}
			slot[i].len = (next_random(&seed) % 16 + 1) * PAGE;
			slot[i].at = map(slot[i].len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			slot[i].mark = count++;
			fill(slot[i].at, slot[i].len, slot[i].mark);
			break;
		case 1: /* larger, elsewhere */
			if (slot[i].at) {
				size_t len = slot[i].len + PAGE;
				if (len > 64 * PAGE)
					break;
				slot[i].at = mremap(slot[i].at, slot[i].len, len, MREMAP_MAYMOVE);
				CHECK(slot[i].at != MAP_FAILED);
				filled(slot[i].at, slot[i].len, slot[i].mark, "a mapping that grows");
				zeroed(slot[i].at + slot[i].len, PAGE, "what a mapping has grown by");
				slot[i].len = len;
				fill(slot[i].at, slot[i].len, slot[i].mark);
			}
			break;
		case 2: /* read-only and back, page by page */
			if (slot[i].at) {
				size_t off = next_random(&seed) % (slot[i].len / PAGE) * PAGE;
				OK(mprotect(slot[i].at + off, PAGE, PROT_READ));
				filled(slot[i].at, slot[i].len, slot[i].mark, "a mapping with a read-only page");
				OK(mprotect(slot[i].at + off, PAGE, PROT_READ | PROT_WRITE));
			}
			break;
		case 3: /* given back */
			if (slot[i].at) {
				OK(madvise(slot[i].at, slot[i].len, MADV_DONTNEED));
				zeroed(slot[i].at, slot[i].len, "a mapping that was given back");
				fill(slot[i].at, slot[i].len, ++slot[i].mark);
			}
			break;
		default:
			if (slot[i].at)
				filled(slot[i].at, slot[i].len, slot[i].mark, "a mapping");
		}
		step();
	}
	for (int i = 0; i < SLOTS; i++)
		if (slot[i].at) {
			filled(slot[i].at, slot[i].len, slot[i].mark, "a mapping at the end");
			OK(munmap(slot[i].at, slot[i].len));
		}
}
int main(void)
{
	motion_begin();
	pid_t kid = CHILD(work(7));
	in_motion();
	work(11);
	reap_ok(kid);
	return pass();
}
