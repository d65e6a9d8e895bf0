/* A BPF map of another sort. */
#include "../bpf.h"
int main(void)
{
	EQ(map_create(BPF_MAP_TYPE_PERCPU_ARRAY, 4, 8, 2, 0, "percpu"), 3);
	checkpoint();
	STR_EQ(map_info(3).name, "percpu");
	return pass();
}
