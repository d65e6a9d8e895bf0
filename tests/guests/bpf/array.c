/* An array, frozen, and one that can be written. */
#include "../bpf.h"
int main(void)
{
	int a = map_create(BPF_MAP_TYPE_ARRAY, 4, 20, 100, 0, "an_array");
	int b = map_create(BPF_MAP_TYPE_ARRAY, 4, 8, 3, BPF_F_MMAPABLE | BPF_F_RDONLY_PROG, "");
	char value[20] = {};
	for (uint32_t i = 0; i < 100; i += 3) {
		sprintf(value, "value %u", i);
		OK(map_put(a, &i, value));
	}
	uint32_t one = 1;
	OK(map_put(b, &one, "12345678"));
	union bpf_attr attr = { .map_fd = b };
	OK(bpf(BPF_MAP_FREEZE, &attr));
	struct bpf_map_info was = map_info(a), wasb = map_info(b);
	checkpoint();
	map_same(was, map_info(a));
	map_same(wasb, map_info(b));
	for (uint32_t i = 0; i < 100; i++) {
		char want[20] = {};
		if (i % 3 == 0)
			sprintf(want, "value %u", i);
		OK(map_get(a, &i, value));
		STR_EQ(value, want);
	}
	OK(map_put(a, &one, value));
	OK(map_get(b, &one, value));
	CHECK(!memcmp(value, "12345678", 8));
	ERR(map_put(b, &one, value), EPERM);
	return pass();
}
