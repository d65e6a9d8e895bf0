/* Mappings of deleted files: private and shared, the shared one seen by a child. */
#include "../guest.h"
int main(void)
{
	char *block = malloc(4 * PAGE);
	fill(block, 4 * PAGE, 5);
	int a = OK(open("a", O_CREAT | O_RDWR, 0600)), b = OK(open("b", O_CREAT | O_RDWR, 0600));
	EQ(write(a, block, 4 * PAGE), 4 * PAGE);
	EQ(write(b, block, 4 * PAGE), 4 * PAGE);
	char *priv = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, a, 0);
	char *shared = map(4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, b, 0);
	priv[PAGE] = 'p';
	shared[PAGE] = 's';
	close(a), close(b);
	OK(unlink("a"));
	OK(unlink("b"));
	struct latch l = latch_new();
	pid_t kid = OK(fork());
	if (!kid) {
		latch_open(l);
		wait_go();
		while (__atomic_load_n(shared + 2 * PAGE, __ATOMIC_ACQUIRE) != '1')
			sched_yield();
		__atomic_store_n(shared + 2 * PAGE, '2', __ATOMIC_RELEASE);
		_exit(0);
	}
	latch_wait(l);
	checkpoint();
	EQ(priv[PAGE], 'p');
	EQ(shared[PAGE], 's');
	CHECK(!memcmp(priv + 2 * PAGE, block + 2 * PAGE, 2 * PAGE));
	CHECK(!memcmp(shared + 3 * PAGE, block + 3 * PAGE, PAGE));
	__atomic_store_n(shared + 2 * PAGE, '1', __ATOMIC_RELEASE);
	reap_ok(kid);
	EQ(shared[2 * PAGE], '2');
	ERR(access("a", F_OK), ENOENT);
	return pass();
}
