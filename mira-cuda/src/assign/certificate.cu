// What is made of a run beside the assignment, when somebody asks for it, for each of gridDim.y problems: the certificate, by one block; and
// before it, by any number of blocks, what MIRA's objective needs.

#include "device.cuh"
#include "certificate.cuh"

KERNEL(certify, AssignParams, THREADS) {
    Context context{params, {0}};
    Certifier(context).run();
}

KERNEL(log_partition_of_rows, AssignParams, THREADS) {
    Context context{params, {0}};
    log_partition(context);
}
