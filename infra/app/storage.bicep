// The app's own storage: the functions' queues, the leases, and what the host itself keeps (timers' locks, the package).
// No mail. Nobody signs in with a key.

param name string
param location string
param tags object = {}

@description('The container of the package that is deployed.')
param packageContainer string

@description('Disabled: only from the virtual network.')
@allowed([
  'Enabled'
  'Disabled'
])
param publicAccess string

// Named in code: shared/storage/base.py, QueueName. A test compares.
var queueNames = [
  'polls'
  'route-requests'
  'lifecycle'
]

// The host moves what it gives up to <queue>-poison. It makes these itself when it first needs them; here they are made
// before, so that their lengths can be measured from the first day on.
var poisonNames = map(queueNames, queue => '${queue}-poison')

// Named in code: shared/storage/azure/leases.py. A test compares.
var leaseContainer = 'mailroom-leases'

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  // checkov:skip=CKV_AZURE_35:open to the internet unless privateNetwork is set, since a small installation has no network of its own; every request needs a token
  // checkov:skip=CKV_AZURE_206:one copy in one place is enough, since what is lost here is announced again by sweep
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    allowBlobPublicAccess: false
    allowSharedKeyAccess: false
    allowCrossTenantReplication: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: publicAccess == 'Enabled' ? 'Allow' : 'Deny'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: account
  name: 'default'
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: packageContainer
  properties: {
    publicAccess: 'None'
  }
}

resource leases 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: leaseContainer
  properties: {
    publicAccess: 'None'
  }
}

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2023-05-01' = {
  parent: account
  name: 'default'
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices/queues@2023-05-01' = [for queue in concat(queueNames, poisonNames): {
  parent: queueService
  name: queue
}]

output id string = account.id
output name string = account.name
output leaseContainer string = leases.name
output packageUrl string = '${account.properties.primaryEndpoints.blob}${packages.name}'
