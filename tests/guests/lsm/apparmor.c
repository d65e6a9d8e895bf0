/* Threads and processes under profiles of AppArmor, which forbid what they forbade. */
#include "../guest.h"
#include <pthread.h>

/* The profiles of tests/src/requirements.rs. */
#define ONE "criu-test-one"
#define TWO "criu-test-two"

static void confine(const char *profile)
{
	char text[128];
	snprintf(text, sizeof text, "changeprofile %s", profile);
	if (put("/proc/thread-self/attr/apparmor/current", text) < 0)
		FAIL("take the profile %s: %s", profile, strerror(errno));
}
static void expect(const char *label)
{
	char text[256] = "";
	int fd = OK(open("/proc/thread-self/attr/apparmor/current", O_RDONLY | O_CLOEXEC));
	OK(read(fd, text, sizeof text - 1));
	close(fd);
	text[strcspn(text, "\n")] = 0;
	STR_EQ(text, label);
}
static void forbidden(bool is)
{
	int fd = open("forbidden", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (is) {
		EQ(fd, -1);
		return;
	}
	OK(fd);
	close(fd);
	OK(unlink("forbidden"));
}

static pthread_barrier_t set, go;
static void *free_thread(void *unused)
{
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	expect("unconfined");
	forbidden(false);
	return unused;
}
static void *other_thread(void *unused)
{
	confine(TWO);
	/* It could not leave the profile now; who restores it comes from none. */
	OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	expect(TWO " (complain)");
	forbidden(false);
	return unused;
}
int main(void)
{
	struct latch ready = latch_new();
	pthread_t threads[2];
	pthread_barrier_init(&set, NULL, 3);
	pthread_barrier_init(&go, NULL, 3);
	OK(pthread_create(&threads[0], NULL, free_thread, NULL));
	OK(pthread_create(&threads[1], NULL, other_thread, NULL));
	pthread_barrier_wait(&set);
	confine(ONE);
	expect(ONE " (enforce)");
	forbidden(true);
	pid_t child = OK(fork());
	if (!child) {
		latch_open(ready);
		wait_go();
		expect(ONE " (enforce)");
		forbidden(true);
		_exit(0);
	}
	latch_wait(ready);
	checkpoint();
	expect(ONE " (enforce)");
	forbidden(true);
	pid_t born = OK(fork());
	if (!born) {
		expect(ONE " (enforce)");
		_exit(0);
	}
	reap_ok(born);
	reap_ok(child);
	pthread_barrier_wait(&go);
	for (int i = 0; i < 2; i++)
		OK(pthread_join(threads[i], NULL));
	return pass();
}
