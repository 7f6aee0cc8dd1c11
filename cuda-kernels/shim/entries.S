/* Entry points of the driver that are looked up at the first call, so that programs link and start without a driver.
 *
 * Each is a jump through a slot. An empty slot leads to `lookup`, which keeps every register that can hold an argument,
 * asks `driver_resolve(name, slot)` for the function, and jumps there. The names are all those that cust_raw declares.
 */

    .macro entry name
    .section .rodata.str1.1, "aMS", @progbits, 1
9:  .asciz "\name"
    .bss
    .p2align 3
8:  .zero 8
    .text
    .globl \name
    .type \name, @function
    .p2align 4
\name:
    endbr64
    movq 8b(%rip), %r11
    testq %r11, %r11
    je 7f
    jmp *%r11
7:  leaq 8b(%rip), %r11
    leaq 9b(%rip), %rax
    jmp lookup
    .size \name, . - \name
    .endm

    .text
    .type lookup, @function
    .p2align 4
lookup:
    endbr64
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %rcx
    pushq %r8
    pushq %r9
    /* One eightbyte above the return address keeps the stack aligned to 16 bytes at the call. */
    subq $136, %rsp
    movups %xmm0, (%rsp)
    movups %xmm1, 16(%rsp)
    movups %xmm2, 32(%rsp)
    movups %xmm3, 48(%rsp)
    movups %xmm4, 64(%rsp)
    movups %xmm5, 80(%rsp)
    movups %xmm6, 96(%rsp)
    movups %xmm7, 112(%rsp)
    movq %rax, %rdi
    movq %r11, %rsi
    call driver_resolve
    movq %rax, %r11
    movups (%rsp), %xmm0
    movups 16(%rsp), %xmm1
    movups 32(%rsp), %xmm2
    movups 48(%rsp), %xmm3
    movups 64(%rsp), %xmm4
    movups 80(%rsp), %xmm5
    movups 96(%rsp), %xmm6
    movups 112(%rsp), %xmm7
    addq $136, %rsp
    popq %r9
    popq %r8
    popq %rcx
    popq %rdx
    popq %rsi
    popq %rdi
    jmp *%r11
    .size lookup, . - lookup

    entry cuArray3DCreate_v2
    entry cuArray3DGetDescriptor_v2
    entry cuArrayCreate_v2
    entry cuArrayDestroy
    entry cuArrayGetDescriptor_v2
    entry cuArrayGetPlane
    entry cuArrayGetSparseProperties
    entry cuCtxAttach
    entry cuCtxCreate_v2
    entry cuCtxCreate_v3
    entry cuCtxDestroy_v2
    entry cuCtxDetach
    entry cuCtxDisablePeerAccess
    entry cuCtxEnablePeerAccess
    entry cuCtxGetApiVersion
    entry cuCtxGetCacheConfig
    entry cuCtxGetCurrent
    entry cuCtxGetDevice
    entry cuCtxGetExecAffinity
    entry cuCtxGetFlags
    entry cuCtxGetLimit
    entry cuCtxGetSharedMemConfig
    entry cuCtxGetStreamPriorityRange
    entry cuCtxPopCurrent_v2
    entry cuCtxPushCurrent_v2
    entry cuCtxResetPersistingL2Cache
    entry cuCtxSetCacheConfig
    entry cuCtxSetCurrent
    entry cuCtxSetLimit
    entry cuCtxSetSharedMemConfig
    entry cuCtxSynchronize
    entry cuDestroyExternalMemory
    entry cuDestroyExternalSemaphore
    entry cuDeviceCanAccessPeer
    entry cuDeviceComputeCapability
    entry cuDeviceGet
    entry cuDeviceGetAttribute
    entry cuDeviceGetByPCIBusId
    entry cuDeviceGetCount
    entry cuDeviceGetDefaultMemPool
    entry cuDeviceGetExecAffinitySupport
    entry cuDeviceGetGraphMemAttribute
    entry cuDeviceGetLuid
    entry cuDeviceGetMemPool
    entry cuDeviceGetName
    entry cuDeviceGetNvSciSyncAttributes
    entry cuDeviceGetP2PAttribute
    entry cuDeviceGetPCIBusId
    entry cuDeviceGetProperties
    entry cuDeviceGetTexture1DLinearMaxWidth
    entry cuDeviceGetUuid
    entry cuDeviceGetUuid_v2
    entry cuDeviceGraphMemTrim
    entry cuDevicePrimaryCtxGetState
    entry cuDevicePrimaryCtxRelease_v2
    entry cuDevicePrimaryCtxReset_v2
    entry cuDevicePrimaryCtxRetain
    entry cuDevicePrimaryCtxSetFlags_v2
    entry cuDeviceSetGraphMemAttribute
    entry cuDeviceSetMemPool
    entry cuDeviceTotalMem_v2
    entry cuDriverGetVersion
    entry cuEventCreate
    entry cuEventDestroy_v2
    entry cuEventElapsedTime
    entry cuEventQuery
    entry cuEventRecord
    entry cuEventRecordWithFlags
    entry cuEventSynchronize
    entry cuExternalMemoryGetMappedBuffer
    entry cuExternalMemoryGetMappedMipmappedArray
    entry cuFlushGPUDirectRDMAWrites
    entry cuFuncGetAttribute
    entry cuFuncGetModule
    entry cuFuncSetAttribute
    entry cuFuncSetBlockShape
    entry cuFuncSetCacheConfig
    entry cuFuncSetSharedMemConfig
    entry cuFuncSetSharedSize
    entry cuGetErrorName
    entry cuGetErrorString
    entry cuGetExportTable
    entry cuGetProcAddress
    entry cuGraphAddChildGraphNode
    entry cuGraphAddDependencies
    entry cuGraphAddEmptyNode
    entry cuGraphAddEventRecordNode
    entry cuGraphAddEventWaitNode
    entry cuGraphAddExternalSemaphoresSignalNode
    entry cuGraphAddExternalSemaphoresWaitNode
    entry cuGraphAddHostNode
    entry cuGraphAddKernelNode
    entry cuGraphAddMemAllocNode
    entry cuGraphAddMemFreeNode
    entry cuGraphAddMemcpyNode
    entry cuGraphAddMemsetNode
    entry cuGraphChildGraphNodeGetGraph
    entry cuGraphClone
    entry cuGraphCreate
    entry cuGraphDebugDotPrint
    entry cuGraphDestroy
    entry cuGraphDestroyNode
    entry cuGraphEventRecordNodeGetEvent
    entry cuGraphEventRecordNodeSetEvent
    entry cuGraphEventWaitNodeGetEvent
    entry cuGraphEventWaitNodeSetEvent
    entry cuGraphExecChildGraphNodeSetParams
    entry cuGraphExecDestroy
    entry cuGraphExecEventRecordNodeSetEvent
    entry cuGraphExecEventWaitNodeSetEvent
    entry cuGraphExecExternalSemaphoresSignalNodeSetParams
    entry cuGraphExecExternalSemaphoresWaitNodeSetParams
    entry cuGraphExecHostNodeSetParams
    entry cuGraphExecKernelNodeSetParams
    entry cuGraphExecMemcpyNodeSetParams
    entry cuGraphExecMemsetNodeSetParams
    entry cuGraphExecUpdate
    entry cuGraphExternalSemaphoresSignalNodeGetParams
    entry cuGraphExternalSemaphoresSignalNodeSetParams
    entry cuGraphExternalSemaphoresWaitNodeGetParams
    entry cuGraphExternalSemaphoresWaitNodeSetParams
    entry cuGraphGetEdges
    entry cuGraphGetNodes
    entry cuGraphGetRootNodes
    entry cuGraphHostNodeGetParams
    entry cuGraphHostNodeSetParams
    entry cuGraphInstantiateWithFlags
    entry cuGraphInstantiate_v2
    entry cuGraphKernelNodeCopyAttributes
    entry cuGraphKernelNodeGetAttribute
    entry cuGraphKernelNodeGetParams
    entry cuGraphKernelNodeSetAttribute
    entry cuGraphKernelNodeSetParams
    entry cuGraphLaunch
    entry cuGraphMemAllocNodeGetParams
    entry cuGraphMemFreeNodeGetParams
    entry cuGraphMemcpyNodeGetParams
    entry cuGraphMemcpyNodeSetParams
    entry cuGraphMemsetNodeGetParams
    entry cuGraphMemsetNodeSetParams
    entry cuGraphNodeFindInClone
    entry cuGraphNodeGetDependencies
    entry cuGraphNodeGetDependentNodes
    entry cuGraphNodeGetType
    entry cuGraphReleaseUserObject
    entry cuGraphRemoveDependencies
    entry cuGraphRetainUserObject
    entry cuGraphUpload
    entry cuGraphicsMapResources
    entry cuGraphicsResourceGetMappedMipmappedArray
    entry cuGraphicsResourceGetMappedPointer_v2
    entry cuGraphicsResourceSetMapFlags_v2
    entry cuGraphicsSubResourceGetMappedArray
    entry cuGraphicsUnmapResources
    entry cuGraphicsUnregisterResource
    entry cuImportExternalMemory
    entry cuImportExternalSemaphore
    entry cuInit
    entry cuIpcCloseMemHandle
    entry cuIpcGetEventHandle
    entry cuIpcGetMemHandle
    entry cuIpcOpenEventHandle
    entry cuIpcOpenMemHandle_v2
    entry cuLaunch
    entry cuLaunchCooperativeKernel
    entry cuLaunchCooperativeKernelMultiDevice
    entry cuLaunchGrid
    entry cuLaunchGridAsync
    entry cuLaunchHostFunc
    entry cuLaunchKernel
    entry cuLinkAddData_v2
    entry cuLinkAddFile_v2
    entry cuLinkComplete
    entry cuLinkCreate_v2
    entry cuLinkDestroy
    entry cuMemAddressFree
    entry cuMemAddressReserve
    entry cuMemAdvise
    entry cuMemAllocAsync
    entry cuMemAllocFromPoolAsync
    entry cuMemAllocHost_v2
    entry cuMemAllocManaged
    entry cuMemAllocPitch_v2
    entry cuMemAlloc_v2
    entry cuMemCreate
    entry cuMemExportToShareableHandle
    entry cuMemFreeAsync
    entry cuMemFreeHost
    entry cuMemFree_v2
    entry cuMemGetAccess
    entry cuMemGetAddressRange_v2
    entry cuMemGetAllocationGranularity
    entry cuMemGetAllocationPropertiesFromHandle
    entry cuMemGetInfo_v2
    entry cuMemHostAlloc
    entry cuMemHostGetDevicePointer_v2
    entry cuMemHostGetFlags
    entry cuMemHostRegister_v2
    entry cuMemHostUnregister
    entry cuMemImportFromShareableHandle
    entry cuMemMap
    entry cuMemMapArrayAsync
    entry cuMemPoolCreate
    entry cuMemPoolDestroy
    entry cuMemPoolExportPointer
    entry cuMemPoolExportToShareableHandle
    entry cuMemPoolGetAccess
    entry cuMemPoolGetAttribute
    entry cuMemPoolImportFromShareableHandle
    entry cuMemPoolImportPointer
    entry cuMemPoolSetAccess
    entry cuMemPoolSetAttribute
    entry cuMemPoolTrimTo
    entry cuMemPrefetchAsync
    entry cuMemRangeGetAttribute
    entry cuMemRangeGetAttributes
    entry cuMemRelease
    entry cuMemRetainAllocationHandle
    entry cuMemSetAccess
    entry cuMemUnmap
    entry cuMemcpy
    entry cuMemcpy2DAsync_v2
    entry cuMemcpy2DUnaligned_v2
    entry cuMemcpy2D_v2
    entry cuMemcpy3DAsync_v2
    entry cuMemcpy3DPeer
    entry cuMemcpy3DPeerAsync
    entry cuMemcpy3D_v2
    entry cuMemcpyAsync
    entry cuMemcpyAtoA_v2
    entry cuMemcpyAtoD_v2
    entry cuMemcpyAtoHAsync_v2
    entry cuMemcpyAtoH_v2
    entry cuMemcpyDtoA_v2
    entry cuMemcpyDtoDAsync_v2
    entry cuMemcpyDtoD_v2
    entry cuMemcpyDtoHAsync_v2
    entry cuMemcpyDtoH_v2
    entry cuMemcpyHtoAAsync_v2
    entry cuMemcpyHtoA_v2
    entry cuMemcpyHtoDAsync_v2
    entry cuMemcpyHtoD_v2
    entry cuMemcpyPeer
    entry cuMemcpyPeerAsync
    entry cuMemsetD16Async
    entry cuMemsetD16_v2
    entry cuMemsetD2D16Async
    entry cuMemsetD2D16_v2
    entry cuMemsetD2D32Async
    entry cuMemsetD2D32_v2
    entry cuMemsetD2D8Async
    entry cuMemsetD2D8_v2
    entry cuMemsetD32Async
    entry cuMemsetD32_v2
    entry cuMemsetD8Async
    entry cuMemsetD8_v2
    entry cuMipmappedArrayCreate
    entry cuMipmappedArrayDestroy
    entry cuMipmappedArrayGetLevel
    entry cuMipmappedArrayGetSparseProperties
    entry cuModuleGetFunction
    entry cuModuleGetGlobal_v2
    entry cuModuleGetSurfRef
    entry cuModuleGetTexRef
    entry cuModuleLoad
    entry cuModuleLoadData
    entry cuModuleLoadDataEx
    entry cuModuleLoadFatBinary
    entry cuModuleUnload
    entry cuOccupancyAvailableDynamicSMemPerBlock
    entry cuOccupancyMaxActiveBlocksPerMultiprocessor
    entry cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags
    entry cuOccupancyMaxPotentialBlockSize
    entry cuOccupancyMaxPotentialBlockSizeWithFlags
    entry cuParamSetSize
    entry cuParamSetTexRef
    entry cuParamSetf
    entry cuParamSeti
    entry cuParamSetv
    entry cuPointerGetAttribute
    entry cuPointerGetAttributes
    entry cuPointerSetAttribute
    entry cuProfilerInitialize
    entry cuProfilerStart
    entry cuProfilerStop
    entry cuSignalExternalSemaphoresAsync
    entry cuStreamAddCallback
    entry cuStreamAttachMemAsync
    entry cuStreamBatchMemOp
    entry cuStreamBeginCapture_v2
    entry cuStreamCopyAttributes
    entry cuStreamCreate
    entry cuStreamCreateWithPriority
    entry cuStreamDestroy_v2
    entry cuStreamEndCapture
    entry cuStreamGetAttribute
    entry cuStreamGetCaptureInfo
    entry cuStreamGetCaptureInfo_v2
    entry cuStreamGetCtx
    entry cuStreamGetFlags
    entry cuStreamGetPriority
    entry cuStreamIsCapturing
    entry cuStreamQuery
    entry cuStreamSetAttribute
    entry cuStreamSynchronize
    entry cuStreamUpdateCaptureDependencies
    entry cuStreamWaitEvent
    entry cuStreamWaitValue32
    entry cuStreamWaitValue64
    entry cuStreamWriteValue32
    entry cuStreamWriteValue64
    entry cuSurfObjectCreate
    entry cuSurfObjectDestroy
    entry cuSurfObjectGetResourceDesc
    entry cuSurfRefGetArray
    entry cuSurfRefSetArray
    entry cuTexObjectCreate
    entry cuTexObjectDestroy
    entry cuTexObjectGetResourceDesc
    entry cuTexObjectGetResourceViewDesc
    entry cuTexObjectGetTextureDesc
    entry cuTexRefCreate
    entry cuTexRefDestroy
    entry cuTexRefGetAddressMode
    entry cuTexRefGetAddress_v2
    entry cuTexRefGetArray
    entry cuTexRefGetBorderColor
    entry cuTexRefGetFilterMode
    entry cuTexRefGetFlags
    entry cuTexRefGetFormat
    entry cuTexRefGetMaxAnisotropy
    entry cuTexRefGetMipmapFilterMode
    entry cuTexRefGetMipmapLevelBias
    entry cuTexRefGetMipmapLevelClamp
    entry cuTexRefGetMipmappedArray
    entry cuTexRefSetAddress2D_v3
    entry cuTexRefSetAddressMode
    entry cuTexRefSetAddress_v2
    entry cuTexRefSetArray
    entry cuTexRefSetBorderColor
    entry cuTexRefSetFilterMode
    entry cuTexRefSetFlags
    entry cuTexRefSetFormat
    entry cuTexRefSetMaxAnisotropy
    entry cuTexRefSetMipmapFilterMode
    entry cuTexRefSetMipmapLevelBias
    entry cuTexRefSetMipmapLevelClamp
    entry cuTexRefSetMipmappedArray
    entry cuThreadExchangeStreamCaptureMode
    entry cuUserObjectCreate
    entry cuUserObjectRelease
    entry cuUserObjectRetain
    entry cuWaitExternalSemaphoresAsync

    .section .note.GNU-stack, "", @progbits
