// Events of results: a BlobCreated event for each blob under routed/. A result is written after everything it points to.
// An account can have only one system topic. If it already has one, create subscriptions there (mailEvents: false).

import { consumer, resourceTags } from '../types.bicep'

param accountName string
param topicName string

@description('Region of the storage account, since a system topic must be in the region of its source.')
param location string
param tags resourceTags
param container string

@description('Subscribers: [{ name: \'crm\', functionId: \'/subscriptions/…/functions/on_result\', route: \'sales\' }]; without route: results of all routes.')
param consumers consumer[] = []

resource account 'Microsoft.Storage/storageAccounts@2026-06-01' existing = {
  name: accountName
}

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: topicName
  location: location
  tags: tags
  properties: {
    source: account.id
    topicType: 'Microsoft.Storage.StorageAccounts'
  }
}

resource subscriptions 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = [
  for entry in consumers: {
    parent: topic
    name: entry.name
    properties: {
      destination: {
        endpointType: 'AzureFunction'
        properties: {
          resourceId: entry.functionId
          maxEventsPerBatch: 1
          preferredBatchSizeInKilobytes: 64
        }
      }
      eventDeliverySchema: 'EventGridSchema'
      filter: {
        includedEventTypes: ['Microsoft.Storage.BlobCreated']
        subjectBeginsWith: '/blobServices/default/containers/${container}/blobs/routed/${entry.?route == null ? '' : '${toLower(entry.?route!)}/'}'
      }
      retryPolicy: {
        maxDeliveryAttempts: 30
        eventTimeToLiveInMinutes: 1440
      }
    }
  }
]
