// The mail's storage, where there is none yet: blobs and tables, apart from the app's own account, so that whoever reads
// results need not be let into what the app runs on.

param name string
param location string
param tags object = {}

@description('The container of all mail.')
param container string

@description('How it is copied. Archiving needs one without zones: Standard_LRS, Standard_GRS or Standard_RAGRS.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GRS'
  'Standard_RAGRS'
  'Standard_GZRS'
  'Standard_RAGZRS'
])
param redundancy string

@description('Disabled: only from the virtual network.')
@allowed([
  'Enabled'
  'Disabled'
])
param publicAccess string

@description('Days for which what was deleted or overwritten can be brought back. mailroom forget removes mail at once, and for good only after these days.')
@minValue(1)
@maxValue(365)
param recoverDays int

@description('Days after which messages go to the cool tier; 0: never.')
@minValue(0)
param coolAfterDays int

@description('Days after which messages go to the archive tier; 0: never.')
@minValue(0)
param archiveAfterDays int

@description('Days after which all that was written is deleted; 0: never.')
@minValue(0)
param deleteAfterDays int

// The folders of shared/documents/blob_paths.py. A test compares. config/, which the operator writes, is not among them.
var messageFolder = ['messages']
var otherFolders = ['routed', 'unhandled', 'duplicates', 'blocked', 'failed', 'oversized', 'unreadable']

// Breaks nothing, and costs: reading a message is dearer there, and one that leaves within 30 days is paid for all of them.
// Good for mail whose results are taken up once and kept for years.
var cooling = {
  name: 'cool-messages'
  enabled: true
  type: 'Lifecycle'
  definition: {
    actions: {
      baseBlob: {
        tierToCool: {
          daysAfterModificationGreaterThan: coolAfterDays
        }
      }
    }
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: map(messageFolder, folder => '${container}/${folder}/')
    }
  }
}

// Breaks reading: an archived blob has to be brought back first, which takes hours. Until then mailroom replay fails on the
// message, and so does every consumer that follows a result to its text or its attachments.
var archiving = {
  name: 'archive-messages'
  enabled: true
  type: 'Lifecycle'
  definition: {
    actions: {
      baseBlob: {
        tierToArchive: {
          daysAfterModificationGreaterThan: archiveAfterDays
        }
      }
    }
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: map(messageFolder, folder => '${container}/${folder}/')
    }
  }
}

// Breaks replay for all that is older, the unhandled and the failed included: nobody has seen that mail, and it is gone. Bytes
// that arrive anew count from their first arrival, so that a result may soon point to nothing. The tables stay: what is
// kept in a mailbox is not collected again, and mailroom find still names it.
var deleting = {
  name: 'delete-everything'
  enabled: true
  type: 'Lifecycle'
  definition: {
    actions: {
      baseBlob: {
        delete: {
          daysAfterModificationGreaterThan: deleteAfterDays
        }
      }
    }
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: map(concat(messageFolder, otherFolders), folder => '${container}/${folder}/')
    }
  }
}

// Always on: else versions, and with them mail that was forgotten, would stay for ever.
var forgetting = {
  name: 'end-versions'
  enabled: true
  type: 'Lifecycle'
  definition: {
    actions: {
      version: {
        delete: {
          daysAfterCreationGreaterThan: recoverDays
        }
      }
    }
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: ['${container}/']
    }
  }
}

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  // checkov:skip=CKV_AZURE_35:open to the internet unless privateNetwork is set, since a small installation has no network of its own; every request needs a token
  // checkov:skip=CKV_AZURE_206:three zones of one region by default; mailRedundancy takes it to a second one
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: redundancy
  }
  properties: {
    accessTier: 'Hot'
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
  properties: {
    isVersioningEnabled: true
    deleteRetentionPolicy: {
      enabled: true
      days: recoverDays
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: recoverDays
    }
  }
}

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2023-05-01' = {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: concat(
        [forgetting],
        coolAfterDays > 0 ? [cooling] : [],
        archiveAfterDays > 0 ? [archiving] : [],
        deleteAfterDays > 0 ? [deleting] : []
      )
    }
  }
  dependsOn: [
    blobs
  ]
}
