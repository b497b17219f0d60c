include:
  - kvm.valid
  - kvm.host
  - kvm.secret
  - kvm.network
  - kvm.pool
  - kvm.volume
  - kvm.image
  - kvm.domain
