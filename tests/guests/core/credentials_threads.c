/* Each thread has credentials of its own. */
#include "../guest.h"
#include <linux/capability.h>
#include <pthread.h>
static pthread_barrier_t set, go;
static void *run(void *arg)
{
	int i = (int)(intptr_t)arg;
	struct __user_cap_header_struct h = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct d[2], now_[2];
	uid_t r, e, s;
	/* the raw calls change this thread alone */
	OK(syscall(SYS_setresgid, 500 + i, 600 + i, 700 + i));
	OK(prctl(PR_SET_KEEPCAPS, 1));
	OK(syscall(SYS_setresuid, 1000 + i, 2000 + i, 3000 + i));
	OK(syscall(SYS_capget, &h, d));
	d[0].permitted = 1U << (i + 1) | 1U << CAP_SETPCAP;
	d[0].effective = 1U << (i + 1);
	d[0].inheritable = 1U << (i + 1);
	d[1] = (struct __user_cap_data_struct){ 0 };
	OK(syscall(SYS_capset, &h, d));
	pthread_barrier_wait(&set);
	pthread_barrier_wait(&go);
	OK(syscall(SYS_getresuid, &r, &e, &s));
	EQ(r, 1000 + i); EQ(e, 2000 + i); EQ(s, 3000 + i);
	OK(syscall(SYS_getresgid, &r, &e, &s));
	EQ(r, 500 + i); EQ(e, 600 + i); EQ(s, 700 + i);
	OK(syscall(SYS_capget, &h, now_));
	CHECK(!memcmp(d, now_, sizeof d));
	EQ(prctl(PR_GET_KEEPCAPS), 1);
	return NULL;
}
int main(void)
{
	pthread_t t[4];
	pthread_barrier_init(&set, NULL, 5);
	pthread_barrier_init(&go, NULL, 5);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, run, (void *)(intptr_t)i);
	pthread_barrier_wait(&set);
	OK(prctl(PR_SET_DUMPABLE, 1));
	checkpoint();
	EQ(getuid(), 0);
	pthread_barrier_wait(&go);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	return pass();
}
