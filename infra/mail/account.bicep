// A new storage account for mail: blobs and tables. It is separate from the app's own account, so that consumers of
// results need no access to the app's own data.

import { publicAccess as access, redundancy as redundancyOfAccount, resourceTags } from '../types.bicep'

param name string
param location string
param tags resourceTags

@description('Container of all mail.')
param container string

@description('Redundancy. The archive tier needs redundancy without zones: Standard_LRS, Standard_GRS or Standard_RAGRS.')
param redundancy redundancyOfAccount

@description('Disabled: reachable only from the virtual network.')
param publicAccess access

@description('Resource id of the workspace that records accesses.')
param workspaceId string

@description('Days for which deleted and overwritten data can be restored. Mail that mailroom forget deletes is erased permanently after these days and the next daily run of the lifecycle rules.')
@minValue(1)
@maxValue(365)
param recoverDays int

@description('Days after which messages are moved to the cool tier; 0: never.')
@minValue(0)
param coolAfterDays int

@description('Days after which messages are moved to the archive tier; 0: never.')
@minValue(0)
param archiveAfterDays int

@description('Days after which messages, results and records are deleted; 0: never.')
@minValue(0)
param deleteAfterDays int

// The folders of shared/documents/blob_paths.py; a test compares them. config/ is not included, since operators write it.
var messageFolder = ['messages']
var otherFolders = ['routed', 'unhandled', 'duplicates', 'blocked', 'failed', 'oversized', 'unreadable']

// Breaks nothing. Reading costs more in the cool tier, and a blob that leaves it within 30 days is charged for all 30.
// Suitable for mail whose results are processed once and kept for years.
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

// Breaks reading: an archived blob must be rehydrated first, which takes hours. Until then, mailroom replay of the message
// fails, and so does every consumer that reads a result's text or attachments.
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

// Breaks replay of older messages, including unhandled and failed messages, which are then lost. If the same bytes arrive
// again, their age counts from the first arrival, so that a new result may soon point to deleted blobs. The tables stay:
// messages kept in a mailbox are not stored again, and mailroom find still shows them.
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

// Always on: without this rule, versions, and with them erased mail, would stay forever. The rule deletes a version at the
// next daily run. Soft delete then keeps it for recoverDays, in which it can be restored. With recoverDays here as well,
// erased mail could be restored for twice as long.
var forgetting = {
  name: 'end-versions'
  enabled: true
  type: 'Lifecycle'
  definition: {
    actions: {
      version: {
        delete: {
          daysAfterCreationGreaterThan: 0
        }
      }
    }
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: ['${container}/']
    }
  }
}

resource account 'Microsoft.Storage/storageAccounts@2026-06-01' = {
  // Open to the internet unless privateNetwork is set, since a small installation has no network; every request needs a token.
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

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2026-06-01' = {
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

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2026-06-01' = {
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

// Who read mail, and who deleted it. The newest stable version is of 2016 and lacks logs by category.
#disable-next-line use-recent-api-versions
resource accesses 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'accesses'
  scope: blobs
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'StorageRead'
        enabled: true
      }
      {
        category: 'StorageWrite'
        enabled: true
      }
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
  }
}
