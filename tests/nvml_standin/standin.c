/* A libnvidia-ml.so.1 without a GPU behind it.
 *
 * Its world is a file named by GPULEDGER_STANDIN, mapped here and in the tests (world.py mirrors
 * `struct world`), so that a test changes what the driver says while a program runs. Only
 * what nvidia-ml-py, nvitop and gpustat ask for is exported; -DOLD_DRIVER leaves out what
 * drivers before 510 had not.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7, DRIVER_NOT_LOADED = 9, TIMEOUT = 10, VERSION_MISMATCH = 18,
};
enum { GPUS = 16, PROCESSES = 64, SAMPLES = 256, INSTANCES = 8 };
enum { COMPUTE = 1, GRAPHICS = 2, MPS = 3 };
/* Indexes into gpu.error: what a test can make fail. */
enum { F_HANDLE, F_MEMORY, F_SAMPLES, F_RATES, F_PROCESSES, F_PROCESS_UTIL, F_POWER, F_TEMPERATURE,
       F_CLOCK, F_ECC, F_EVENTS, F_GPM, FUNCTIONS };

struct process { uint32_t pid, kind; uint64_t memory; uint32_t instance, sm; };
struct sample { uint64_t us; uint32_t pid, value; };
struct instance {
    char uuid[96];
    uint32_t id, slices;
    uint64_t memory, used;
    double sm, tensor, dram;
};
struct gpu {
    char uuid[96], name[96];
    uint64_t memory, used, ecc;
    uint32_t power_mw, temperature, sm_clock, xid;
    uint32_t lost, hang, error[FUNCTIONS];
    uint32_t size_query, flowing, gpm, mig, total_slices;
    double gpm_sm, gpm_tensor, gpm_dram;
    uint32_t processes, samples, process_samples, instances;
    struct process process[PROCESSES];
    struct sample sample[SAMPLES], process_sample[SAMPLES];
    struct instance instance[INSTANCES];
};
struct world {
    uint32_t init_error, generation, gpus, calls;
    char driver[80];
    struct gpu gpu[GPUS];
};

/* A handle: a GPU, or an instance of it. */
struct handle { struct gpu *gpu; struct instance *instance; };
typedef struct handle *device_t;

static volatile struct world *world;
static struct handle handles[GPUS][INSTANCES + 1];
static uint32_t loaded_generation;

#define EXPORT __attribute__((visibility("default")))

static int map_world(void) {
    const char *path = getenv("GPULEDGER_STANDIN");
    int file = path ? open(path, O_RDWR) : -1;
    if (file < 0) return DRIVER_NOT_LOADED;
    if (world) munmap((void *)world, sizeof *world);
    world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (world == MAP_FAILED) { world = NULL; return DRIVER_NOT_LOADED; }
    return SUCCESS;
}

/* A library knows the kernel module of its own build only: loaded later, it is a newer build. */
__attribute__((constructor)) static void load(void) {
    if (map_world() == SUCCESS) loaded_generation = world->generation;
}

EXPORT int nvmlInit_v2(void) {
    int fresh = world == NULL;
    int result = map_world();
    if (result) return result;
    if (fresh || getenv("GPULEDGER_STANDIN_PRELOADED")) loaded_generation = world->generation;
    if (world->init_error) return (int)world->init_error;
    if (world->generation != loaded_generation) return VERSION_MISMATCH;
    for (int g = 0; g < GPUS; g++) {
        struct gpu *gpu = (struct gpu *)&world->gpu[g];
        handles[g][0] = (struct handle){gpu, NULL};
        for (int i = 0; i < INSTANCES; i++)
            handles[g][i + 1] = (struct handle){gpu, &gpu->instance[i]};
    }
    return SUCCESS;
}
EXPORT int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
EXPORT int nvmlShutdown(void) { return SUCCESS; }

static int ready(void) {
    if (!world) return UNINITIALIZED;
    world->calls++;
    return world->generation == loaded_generation ? SUCCESS : VERSION_MISMATCH;
}

/* What every call on a device goes through: a hang, a lost GPU, an error that the test asked for. */
static int enter(device_t device, int function) {
    int result = ready();
    if (result) return result;
    if (!device) return INVALID_ARGUMENT;
    while (*(volatile uint32_t *)&device->gpu->hang) usleep(1000);
    if (device->gpu->lost) return (int)device->gpu->lost;
    return function < 0 ? SUCCESS : (int)device->gpu->error[function];
}
#define ENTER(device, function) do { int e_ = enter(device, function); if (e_) return e_; } while (0)

static uint64_t now_us(void) {
    struct timeval now;
    gettimeofday(&now, NULL);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_usec;
}
static int text(char *to, unsigned length, const char *from) {
    if (strlen(from) >= length) return INSUFFICIENT_SIZE;
    strcpy(to, from);
    return SUCCESS;
}

EXPORT const char *nvmlErrorString(int code) {
    static char said[32];
    snprintf(said, sizeof said, "stand-in error %d", code);
    return said;
}
EXPORT int nvmlSystemGetDriverVersion(char *to, unsigned length) {
    int result = ready();
    return result ? result : text(to, length, (const char *)world->driver);
}
EXPORT int nvmlSystemGetNVMLVersion(char *to, unsigned length) { return text(to, length, "0.0"); }
EXPORT int nvmlSystemGetCudaDriverVersion(int *version) { *version = 12080; return SUCCESS; }
EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *version) { *version = 12080; return SUCCESS; }
EXPORT int nvmlDeviceGetCount_v2(unsigned *count) {
    int result = ready();
    *count = result ? 0 : world->gpus;
    return result;
}
EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned index, device_t *device) {
    int result = ready();
    if (result) return result;
    if (index >= world->gpus) return INVALID_ARGUMENT;
    *device = &handles[index][0];
    return enter(*device, F_HANDLE);
}
static unsigned index_of(device_t device) { return (unsigned)(device->gpu - (struct gpu *)world->gpu); }
EXPORT int nvmlDeviceGetIndex(device_t device, unsigned *index) {
    ENTER(device, -1);
    *index = index_of(device);
    return SUCCESS;
}
EXPORT int nvmlDeviceGetUUID(device_t device, char *to, unsigned length) {
    ENTER(device, -1);
    return text(to, length, device->instance ? device->instance->uuid : device->gpu->uuid);
}
EXPORT int nvmlDeviceGetName(device_t device, char *to, unsigned length) {
    char name[160];
    ENTER(device, -1);
    snprintf(name, sizeof name, "%s", device->gpu->name);
    if (device->instance)
        snprintf(name, sizeof name, "%s MIG %ug.%llugb", device->gpu->name, device->instance->slices,
                 (unsigned long long)(device->instance->memory >> 30));
    return text(to, length, name);
}
struct memory { unsigned long long total, free, used; };
struct memory_v2 { unsigned version; unsigned long long total, reserved, free, used; };
EXPORT int nvmlDeviceGetMemoryInfo(device_t device, struct memory *memory) {
    ENTER(device, F_MEMORY);
    memory->total = device->instance ? device->instance->memory : device->gpu->memory;
    memory->used = device->instance ? device->instance->used : device->gpu->used;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}
EXPORT int nvmlDeviceGetMemoryInfo_v2(device_t device, struct memory_v2 *memory) {
    struct memory plain;
    int result = nvmlDeviceGetMemoryInfo(device, &plain);
    if (result) return result;
    memory->total = plain.total;
    memory->used = plain.used;
    memory->free = plain.free;
    memory->reserved = 0;
    return SUCCESS;
}

/* Device samples: those the test wrote, or with `flowing` one every 100 ms up to now. */
static unsigned flowing_value(struct gpu *gpu) {
    unsigned sum = 0;
    for (unsigned i = 0; i < gpu->processes; i++) sum += gpu->process[i].sm;
    return sum > 100 ? 100 : sum;
}
struct utilization { unsigned gpu, memory; };
EXPORT int nvmlDeviceGetUtilizationRates(device_t device, struct utilization *rates) {
    ENTER(device, F_RATES);
    struct gpu *gpu = device->gpu;
    rates->memory = 0;
    rates->gpu = gpu->flowing ? flowing_value(gpu)
               : gpu->samples ? gpu->sample[gpu->samples - 1].value : 0;
    return SUCCESS;
}
struct nvml_sample { unsigned long long us; union { double d; unsigned u; unsigned long long ull; } value; };
EXPORT int nvmlDeviceGetSamples(device_t device, unsigned type, unsigned long long since,
                                unsigned *value_type, unsigned *count, struct nvml_sample *to) {
    ENTER(device, F_SAMPLES);
    struct gpu *gpu = device->gpu;
    unsigned room = *count, found = 0;
    if (type != 1 || device->instance) return NOT_SUPPORTED;
    *value_type = 1;
    if (!to) { *count = SAMPLES; return SUCCESS; }
    if (gpu->flowing) {
        uint64_t now = now_us(), first = since + 1;
        if (first + 10000000 < now) first = now - 10000000;
        for (uint64_t us = (first + 99999) / 100000 * 100000; us <= now && found < room; us += 100000) {
            to[found].us = us;
            to[found++].value.ull = flowing_value(gpu);
        }
    }
    for (unsigned i = 0; i < gpu->samples && found < room; i++) {
        if (gpu->sample[i].us <= since) continue;
        to[found].us = gpu->sample[i].us;
        to[found].value.ull = 0;
        to[found++].value.u = gpu->sample[i].value;
    }
    *count = found;
    return found ? SUCCESS : NOT_FOUND;
}

struct process_info { unsigned pid; unsigned long long memory; unsigned instance, compute; };
static int processes(device_t device, unsigned kind, unsigned *count, struct process_info *to) {
    ENTER(device, F_PROCESSES);
    struct gpu *gpu = device->gpu;
    unsigned room = *count, found = 0;
    for (unsigned i = 0; i < gpu->processes; i++) {
        struct process *p = &gpu->process[i];
        if (p->kind != kind) continue;
        if (device->instance && p->instance != device->instance->id) continue;
        if (found < room && to)
            to[found] = (struct process_info){p->pid, p->memory, p->instance, 0};
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : SUCCESS;
}
#define LIST(name, kind) EXPORT int name(device_t d, unsigned *n, struct process_info *to) \
    { return processes(d, kind, n, to); }
LIST(nvmlDeviceGetComputeRunningProcesses_v2, COMPUTE)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v2, GRAPHICS)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v2, MPS)
#ifndef OLD_DRIVER
LIST(nvmlDeviceGetComputeRunningProcesses_v3, COMPUTE)
LIST(nvmlDeviceGetGraphicsRunningProcesses_v3, GRAPHICS)
LIST(nvmlDeviceGetMPSComputeRunningProcesses_v3, MPS)
#endif

/* Per-process samples newer than `since`. size_query: 1 says "100" whatever there is, as real
 * drivers do, and fills the rest with zeros; 2 answers SUCCESS where INSUFFICIENT_SIZE is due. */
static unsigned collect(struct gpu *gpu, unsigned long long since, struct sample *to) {
    unsigned found = 0;
    if (gpu->flowing)
        for (unsigned i = 0; i < gpu->processes && found < SAMPLES; i++)
            if (gpu->process[i].sm)
                to[found++] = (struct sample){now_us(), gpu->process[i].pid, gpu->process[i].sm};
    for (unsigned i = 0; i < gpu->process_samples && found < SAMPLES; i++)
        if (gpu->process_sample[i].us > since) to[found++] = gpu->process_sample[i];
    if (gpu->size_query == 1)
        while (found < 100) to[found++] = (struct sample){0, 0, 0};
    return found;
}
struct util_sample { unsigned pid; unsigned long long us; unsigned sm, memory, encoder, decoder; };
EXPORT int nvmlDeviceGetProcessUtilization(device_t device, struct util_sample *to, unsigned *count,
                                           unsigned long long since) {
    struct sample found[SAMPLES];
    ENTER(device, F_PROCESS_UTIL);
    if (device->gpu->mig) return NOT_SUPPORTED;
    unsigned room = *count, n = collect(device->gpu, since, found);
    *count = n;
    if (!n) return NOT_FOUND;
    if (!to || n > room) return device->gpu->size_query == 2 && !to ? SUCCESS : INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < n; i++)
        to[i] = (struct util_sample){found[i].pid, found[i].us, found[i].value, 0, 0, 0};
    return SUCCESS;
}
#ifndef OLD_DRIVER
struct util_info { unsigned long long us; unsigned pid, sm, memory, encoder, decoder, jpeg, ofa; };
struct utils_info { unsigned version, count; unsigned long long since; struct util_info *to; };
EXPORT int nvmlDeviceGetProcessesUtilizationInfo(device_t device, struct utils_info *info) {
    struct sample found[SAMPLES];
    ENTER(device, F_PROCESS_UTIL);
    if (device->gpu->mig) return NOT_SUPPORTED;
    unsigned room = info->count, n = collect(device->gpu, info->since, found);
    info->count = n;
    if (!n) return NOT_FOUND;
    if (!info->to || n > room)
        return device->gpu->size_query == 2 && !info->to ? SUCCESS : INSUFFICIENT_SIZE;
    for (unsigned i = 0; i < n; i++)
        info->to[i] = (struct util_info){found[i].us, found[i].pid, found[i].value, 0, 0, 0, 0, 0};
    return SUCCESS;
}
#endif

EXPORT int nvmlDeviceGetPowerUsage(device_t device, unsigned *mw) {
    ENTER(device, F_POWER);
    *mw = device->gpu->power_mw;
    return SUCCESS;
}
EXPORT int nvmlDeviceGetEnforcedPowerLimit(device_t device, unsigned *mw) {
    ENTER(device, F_POWER);
    *mw = 700000;
    return SUCCESS;
}
EXPORT int nvmlDeviceGetPowerManagementLimit(device_t device, unsigned *mw) {
    return nvmlDeviceGetEnforcedPowerLimit(device, mw);
}
EXPORT int nvmlDeviceGetTemperature(device_t device, unsigned sensor, unsigned *celsius) {
    (void)sensor;
    ENTER(device, F_TEMPERATURE);
    *celsius = device->gpu->temperature;
    return SUCCESS;
}
EXPORT int nvmlDeviceGetClockInfo(device_t device, unsigned type, unsigned *mhz) {
    (void)type;
    ENTER(device, F_CLOCK);
    *mhz = device->gpu->sm_clock;
    return SUCCESS;
}
EXPORT int nvmlDeviceGetTotalEccErrors(device_t device, unsigned type, unsigned counter,
                                       unsigned long long *errors) {
    ENTER(device, F_ECC);
    *errors = type == 1 && counter == 0 ? device->gpu->ecc : 0;
    return SUCCESS;
}
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
EXPORT int nvmlDeviceGetPciInfo_v3(device_t device, struct pci *pci) {
    ENTER(device, -1);
    memset(pci, 0, sizeof *pci);
    pci->bus = index_of(device) + 1;
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
    return SUCCESS;
}

EXPORT int nvmlDeviceGetMigMode(device_t device, unsigned *current, unsigned *pending) {
    ENTER(device, -1);
    *current = *pending = device->gpu->mig;
    return SUCCESS;
}
EXPORT int nvmlDeviceGetMaxMigDeviceCount(device_t device, unsigned *count) {
    ENTER(device, -1);
    *count = device->gpu->mig ? 7 : 0;
    return SUCCESS;
}
EXPORT int nvmlDeviceIsMigDeviceHandle(device_t device, unsigned *is) {
    ENTER(device, -1);
    *is = device->instance != NULL;
    return SUCCESS;
}
EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(device_t device, unsigned index, device_t *instance) {
    ENTER(device, -1);
    if (index >= device->gpu->instances) return NOT_FOUND;
    *instance = &handles[index_of(device)][index + 1];
    return SUCCESS;
}
EXPORT int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device_t instance, device_t *device) {
    ENTER(instance, -1);
    *device = &handles[index_of(instance)][0];
    return SUCCESS;
}
EXPORT int nvmlDeviceGetGpuInstanceId(device_t device, unsigned *id) {
    ENTER(device, -1);
    if (!device->instance) return NOT_SUPPORTED;
    *id = device->instance->id;
    return SUCCESS;
}
EXPORT int nvmlDeviceGetComputeInstanceId(device_t device, unsigned *id) {
    ENTER(device, -1);
    if (!device->instance) return NOT_SUPPORTED;
    *id = 0;
    return SUCCESS;
}
struct attributes {
    unsigned multiprocessors, copy, decoder, encoder, jpeg, ofa, gpu_slices, compute_slices;
    unsigned long long memory_mb;
};
EXPORT int nvmlDeviceGetAttributes_v2(device_t device, struct attributes *to) {
    ENTER(device, -1);
    if (!device->instance) return NOT_SUPPORTED;
    memset(to, 0, sizeof *to);
    to->gpu_slices = to->compute_slices = device->instance->slices;
    to->memory_mb = device->instance->memory >> 20;
    return SUCCESS;
}
struct profile {
    unsigned id, p2p, slices, instances, multiprocessors, copy, decoder, encoder, jpeg, ofa;
    unsigned long long memory_mb;
};
EXPORT int nvmlDeviceGetGpuInstanceProfileInfo(device_t device, unsigned profile, struct profile *to) {
    ENTER(device, -1);
    static const unsigned slices[] = {1, 2, 3, 4, 7, 8};
    if (!device->gpu->mig || profile > 5 || slices[profile] > device->gpu->total_slices)
        return NOT_SUPPORTED;
    memset(to, 0, sizeof *to);
    to->slices = slices[profile];
    return SUCCESS;
}

struct event { device_t device; unsigned long long type, data; unsigned instance, compute; };
struct event_set { device_t device; };
EXPORT int nvmlEventSetCreate(struct event_set **set) {
    *set = calloc(1, sizeof **set);
    return ready();
}
EXPORT int nvmlEventSetFree(struct event_set *set) { free(set); return SUCCESS; }
EXPORT int nvmlDeviceRegisterEvents(device_t device, unsigned long long types,
                                    struct event_set *set) {
    (void)types;
    ENTER(device, F_EVENTS);
    set->device = device;
    return SUCCESS;
}
EXPORT int nvmlEventSetWait_v2(struct event_set *set, struct event *event, unsigned ms) {
    (void)ms;
    ENTER(set->device, F_EVENTS);
    if (!set->device->gpu->xid) return TIMEOUT;
    *event = (struct event){set->device, 8, set->device->gpu->xid, 0, 0};
    set->device->gpu->xid = 0;
    return SUCCESS;
}

struct gpm_sample { struct gpu *gpu; struct instance *instance; };
struct gpm_metric { unsigned id; int result; double value; char *names[3]; };
struct gpm_get { unsigned version, count; struct gpm_sample *before, *after; struct gpm_metric metric[]; };
struct gpm_support { unsigned version, supported; };
EXPORT int nvmlGpmQueryDeviceSupport(device_t device, struct gpm_support *support) {
    ENTER(device, F_GPM);
    support->supported = device->gpu->gpm;
    return SUCCESS;
}
EXPORT int nvmlGpmSampleAlloc(struct gpm_sample **sample) {
    *sample = calloc(1, sizeof **sample);
    return SUCCESS;
}
EXPORT int nvmlGpmSampleFree(struct gpm_sample *sample) { free(sample); return SUCCESS; }
EXPORT int nvmlGpmSampleGet(device_t device, struct gpm_sample *sample) {
    ENTER(device, F_GPM);
    *sample = (struct gpm_sample){device->gpu, NULL};
    return SUCCESS;
}
EXPORT int nvmlGpmMigSampleGet(device_t device, unsigned id, struct gpm_sample *sample) {
    ENTER(device, F_GPM);
    for (unsigned i = 0; i < device->gpu->instances; i++)
        if (device->gpu->instance[i].id == id) {
            *sample = (struct gpm_sample){device->gpu, &device->gpu->instance[i]};
            return SUCCESS;
        }
    return NOT_FOUND;
}
EXPORT int nvmlGpmMetricsGet(struct gpm_get *get) {
    struct gpm_sample *s = get->after;
    for (unsigned i = 0; i < get->count; i++) {
        struct gpm_metric *m = &get->metric[i];
        m->result = SUCCESS;
        if (m->id == 2) m->value = s->instance ? s->instance->sm : s->gpu->gpm_sm;
        else if (m->id == 5) m->value = s->instance ? s->instance->tensor : s->gpu->gpm_tensor;
        else if (m->id == 10) m->value = s->instance ? s->instance->dram : s->gpu->gpm_dram;
        else m->result = NOT_SUPPORTED;
    }
    return SUCCESS;
}
