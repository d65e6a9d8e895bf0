/* userfaultfds that watch nothing yet: one fresh, before UFFDIO_API; one with features, twice; one that blocks and has
   many features. What was agreed on stays, and they can be used. */
#include "../uffd.h"
int main(void)
{
	uint64_t many = UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP |
			UFFD_FEATURE_EVENT_FORK | FEATURE_THREAD_ID | FEATURE_EXACT_ADDRESS;
	int fresh = uffd_bare(O_CLOEXEC | O_NONBLOCK);
	int one = uffd(O_CLOEXEC | O_NONBLOCK, UFFD_FEATURE_SIGBUS);
	int twin = OK(dup(one));
	int blocks = uffd(0, many);
	unsigned long long before[] = { uffd_features(fresh), uffd_features(one), uffd_features(blocks) };
	checkpoint();
	EQ(uffd_features(fresh), before[0]);
	EQ(uffd_features(one), before[1]);
	EQ(uffd_features(blocks), before[2]);
	CHECK(same_description(one, twin));
	EQ(fcntl(one, F_GETFD), FD_CLOEXEC);
	EQ(fcntl(twin, F_GETFD), 0);
	EQ(fcntl(blocks, F_GETFL) & O_NONBLOCK, 0);
	EQ(fcntl(fresh, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	struct uffdio_api api = { .api = UFFD_API };
	ERR(ioctl(one, UFFDIO_API, &api), EINVAL);
	api = (struct uffdio_api){ .api = UFFD_API };
	OK(ioctl(fresh, UFFDIO_API, &api));
	char *at = map(2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uffd_register(fresh, at, PAGE, UFFDIO_REGISTER_MODE_MISSING);
	uffd_copy(fresh, at, 3);
	filled(at, PAGE, 3, "a page by the fresh one");
	uffd_register(twin, at + PAGE, PAGE, UFFDIO_REGISTER_MODE_MISSING);
	int pipes[2];
	OK(pipe(pipes));
	EQ(write(pipes[1], "x", 1), 1);
	/* With SIGBUS no message comes. */
	ERR(read(pipes[0], at + PAGE, 1), EFAULT);
	return pass();
}
