/* A map that is pinned stays the one that the pin leads to; one that nobody else has is made again. */
#include "../bpf.h"
#include <sys/mount.h>
int main(void)
{
	OK(mkdir("bpf", 0700));
	if (mount("none", "bpf", "bpf", 0, NULL))
		SKIP("no bpf filesystem: %s", strerror(errno));
	int pinned = map_create(BPF_MAP_TYPE_HASH, 4, 8, 10, 0, "pinned"), own = map_create(BPF_MAP_TYPE_HASH, 4, 8, 10, 0, "own");
	union bpf_attr attr = { .pathname = (uint64_t)"bpf/map", .bpf_fd = pinned };
	OK(bpf(BPF_OBJ_PIN, &attr));
	uint32_t key = 1;
	char value[8];
	OK(map_put(pinned, &key, "1234567"));
	OK(map_put(own, &key, "7654321"));
	struct bpf_map_info was = map_info(pinned);
	checkpoint();
	map_same(was, map_info(pinned));
	EQ(map_info(pinned).id, was.id);
	attr = (union bpf_attr){ .pathname = (uint64_t)"bpf/map" };
	int again = OK(bpf(BPF_OBJ_GET, &attr));
	OK(map_put(again, &key, "changed"));
	OK(map_get(pinned, &key, value));
	STR_EQ(value, "changed");
	OK(map_get(own, &key, value));
	STR_EQ(value, "7654321");
	return pass();
}
